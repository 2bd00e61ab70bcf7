/* Usage events: the first byte says in which form the rest comes. What is accepted keeps every rule; what is not has an
 * error. One form more is the JSON path of a meter.
 *
 *   p plain   s structured   b batch   n NDJSON   h binary: "name:value" lines, an empty line, the body   j JSON path
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <apr_general.h>
#include <apr_strings.h>

#include "mpx_event.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *pool;
static const mpx_event_rules_t rules = {
    APR_TIME_C(1795213080000000), APR_TIME_C(86400000000), APR_TIME_C(3024000000000), 8, { 32, 4096, 65536 }
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    apr_initialize();
    return apr_pool_create(&pool, NULL);
}

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static void check_text(const char *text, size_t max)
{
    const char *detail;
    size_t len = strlen(text);

    must(len >= 1 && len <= max && mpx_json_utf8_valid(text, len) && !mpx_check_line(text, len, &detail));
}

static void check_event(const mpx_event_t *event)
{
    mpx_json_error_t error;
    mpx_json_t *data;

    check_text(event->id, 256);
    check_text(event->source, 256);
    check_text(event->type, 128);
    if (event->subject) {
        check_text(event->subject, 256);
    }
    must(event->occurrences >= 1 && event->occurrences <= 1000000000);
    must(event->time - rules.now <= rules.ahead && rules.now - event->time <= rules.behind);
    if (event->data) {
        must(mpx_json_parse(pool, event->data, event->data_len, &rules.json, &data, &error) == APR_SUCCESS);
        must(data->type == MPX_JSON_OBJECT && !mpx_json_numbers_in_range(pool, data, ""));
    }
}

static void check_path(const char *text, size_t len)
{
    apr_array_header_t *steps = mpx_jsonpath_parse(pool, apr_pstrmemdup(pool, text, len));
    int i;

    for (i = 0; steps && i < steps->nelts; i++) {
        const char *step = APR_ARRAY_IDX(steps, i, const char *);

        must(mpx_json_utf8_valid(step, strlen(step)));
    }
}

/* @return the body behind the attributes */
static const char *read_attributes(const char *p, const char *end, apr_table_t *table)
{
    const char *stop, *colon;

    for (; p < end && *p != '\n'; p = stop + (stop < end)) {
        stop = memchr(p, '\n', (size_t)(end - p));
        stop = stop ? stop : end;
        colon = memchr(p, ':', (size_t)(stop - p));
        if (colon) {
            apr_table_addn(table, apr_pstrmemdup(pool, p, (size_t)(colon - p)),
                           apr_pstrmemdup(pool, colon + 1, (size_t)(stop - colon - 1)));
        }
    }
    return p < end ? p + 1 : end;
}

static void check_form(char form, const char *text, size_t len)
{
    apr_array_header_t *events = apr_array_make(pool, 4, sizeof(mpx_event_t));
    apr_array_header_t *errors = apr_array_make(pool, 4, sizeof(mpx_field_error_t));
    apr_table_t *table = apr_table_make(pool, 8);
    const char *body = form == 'h' ? read_attributes(text, text + len, table) : text;
    mpx_json_error_t error;
    mpx_json_t *root = NULL;
    int n, i;

    len -= (size_t)(body - text);
    if (form == 'n') {
        n = mpx_events_read_ndjson(pool, body, len, &rules, events, errors, &error);
        must(n >= 0 || (error.offset <= len && error.message));
    }
    else {
        if ((form != 'h' || len > 0)
            && mpx_json_parse(pool, body, len, &rules.json, &root, &error) != APR_SUCCESS) {
            return;
        }
        n = form == 'h' ? mpx_event_read_binary(pool, table, root, &rules, events, errors)
                        : mpx_events_read(pool, root, form != 'p', form != 's', form != 'b', &rules, events, errors);
    }
    must(n < 0 || (errors->nelts == (n < MPX_FIELD_ERRORS_MAX ? n : MPX_FIELD_ERRORS_MAX)));
    for (i = 0; i < errors->nelts; i++) {
        const mpx_field_error_t *e = &APR_ARRAY_IDX(errors, i, mpx_field_error_t);

        must(e->pointer && e->code && e->detail && (e->pointer[0] == '\0' || e->pointer[0] == '/'));
    }
    for (i = 0; i < events->nelts; i++) {
        check_event(&APR_ARRAY_IDX(events, i, mpx_event_t));
    }
    must(events->nelts <= (int)rules.max_events);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] == 'j') {
        check_path((const char *)data + 1, size - 1);
    }
    else if (size > 0) {
        check_form((char)data[0], (const char *)data + 1, size - 1);
    }
    apr_pool_clear(pool);
    return 0;
}
