/* Decimal text: what is accepted comes back equal from its canonical form, and JSON's grammar accepts that form too. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mpx_decimal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void comes_back(const mpx_decimal_t *value)
{
    char text[MPX_DECIMAL_TEXT];
    mpx_decimal_t again;

    mpx_decimal_format(value, text);
    if (mpx_decimal_parse(text, strlen(text), &again) != MPX_DECIMAL_OK || mpx_decimal_compare(value, &again) != 0
        || mpx_decimal_parse_json(text, strlen(text), &again) != MPX_DECIMAL_OK
        || mpx_decimal_compare(value, &again) != 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mpx_decimal_t value;

    if (mpx_decimal_parse((const char *)data, size, &value) == MPX_DECIMAL_OK) {
        comes_back(&value);
    }
    if (mpx_decimal_parse_json((const char *)data, size, &value) == MPX_DECIMAL_OK) {
        comes_back(&value);
    }
    return 0;
}
