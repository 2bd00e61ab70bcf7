/* RFC 3339 text: what is accepted comes back as the same instant from its UTC form. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mpx_time.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[MPX_TIME_TEXT];
    apr_time_t instant, again;

    if (!mpx_time_parse((const char *)data, size, &instant)) {
        return 0;
    }
    mpx_time_format(instant, text);
    if (!mpx_time_parse(text, strlen(text), &again) || again != instant) {
        abort();
    }
    return 0;
}
