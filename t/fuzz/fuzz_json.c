/* JSON text: what is accepted is valid UTF-8 throughout, keeps the limits, and written by mpx_jsonw reads as the same
 * text once more. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <apr_general.h>

#include "mpx_json.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *pool;
static const mpx_json_limits_t limits = { 32, 4096, 65536 };

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

static void write_value(mpx_jsonw_t *w, const mpx_json_t *value, unsigned depth)
{
    const mpx_json_t *child;
    apr_size_t n = 0;

    if (value->type == MPX_JSON_STRING) {
        must(value->len <= limits.string && strlen(value->text) == value->len);
        must(mpx_json_utf8_valid(value->text, value->len));
        mpx_jsonw_stringn(w, value->text, value->len);
        return;
    }
    if (value->type < MPX_JSON_ARRAY) {
        must(value->len > 0);
        mpx_jsonw_raw(w, value->text, value->len);
        return;
    }
    must(depth < limits.depth);
    must(value->text[0] == (value->type == MPX_JSON_ARRAY ? '[' : '{'));
    must(value->text[value->len - 1] == (value->type == MPX_JSON_ARRAY ? ']' : '}'));
    if (value->type == MPX_JSON_ARRAY) {
        mpx_jsonw_array(w);
    }
    else {
        mpx_jsonw_object(w);
    }
    for (child = value->first; child; child = child->next, n++) {
        must((child->name != NULL) == (value->type == MPX_JSON_OBJECT));
        if (child->name) {
            must(mpx_json_utf8_valid(child->name, child->name_len) && strlen(child->name) == child->name_len);
            must(mpx_json_member(value, child->name) == child); /* no name twice */
            mpx_jsonw_key(w, child->name);
        }
        write_value(w, child, depth + 1);
    }
    must(n == value->count);
    mpx_jsonw_end(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mpx_json_error_t error = { 0, NULL };
    mpx_json_t *value;
    mpx_jsonw_t *w;
    const char *first, *second;
    apr_size_t first_len, second_len;

    if (mpx_json_parse(pool, (const char *)data, size, &limits, &value, &error) == APR_SUCCESS) {
        w = mpx_jsonw_make(pool);
        write_value(w, value, 0);
        first = mpx_jsonw_text(w, &first_len);
        must(mpx_json_parse(pool, first, first_len, &limits, &value, &error) == APR_SUCCESS);
        w = mpx_jsonw_make(pool);
        write_value(w, value, 0);
        second = mpx_jsonw_text(w, &second_len);
        must(first_len == second_len && memcmp(first, second, first_len) == 0);
    }
    else {
        must(error.message && error.offset <= size);
    }
    apr_pool_clear(pool);
    return 0;
}
