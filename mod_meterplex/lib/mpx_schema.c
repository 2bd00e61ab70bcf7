/* mpx_schema: a table walked over an object; each type of field has its own reader below. */
#include <apr_strings.h>
#include "mpx_decimal.h"
#include "mpx_event.h" /* the range of numbers in data */
#include "mpx_net.h"
#include "mpx_schema.h"
#include "mpx_utf8.h"

#define INT_DIGITS 19 /* of the largest apr_int64_t */

/* One call of mpx_schema_read */
typedef struct run {
    apr_pool_t *pool;
    apr_array_header_t *errors;
    int found, dropped;
} run_t;

static void report(run_t *run, const char *pointer, const char *code, const char *detail)
{
    run->found++;
    mpx_field_error_report(run->errors, &run->dropped, pointer, code, detail);
}

static const char *pointer_to(run_t *run, const char *prefix, const char *name)
{
    return apr_pstrcat(run->pool, prefix, "/", mpx_json_pointer_token(run->pool, name), NULL);
}

static int bounded(const mpx_field_t *field)
{
    return field->min != 0 || field->max != 0;
}

/* The size of a string, array or object within its bounds? */
static int size_fits(run_t *run, const mpx_field_t *field, apr_size_t size, const char *unit, const char *pointer)
{
    if (!bounded(field) || ((apr_int64_t)size >= field->min && (apr_int64_t)size <= field->max)) {
        return 1;
    }
    report(run, pointer, "length",
           apr_psprintf(run->pool, "%" APR_INT64_T_FMT " to %" APR_INT64_T_FMT " %s are allowed", field->min,
                        field->max, unit));
    return 0;
}

static int check_holds(run_t *run, mpx_field_check_fn *check, const char *text, apr_size_t len, const char *pointer)
{
    const char *detail = "the value is not valid";
    const char *code = check ? check(text, len, &detail) : NULL;

    if (code) {
        report(run, pointer, code, detail);
    }
    return code == NULL;
}

static int choice_fits(run_t *run, const char *const *choices, const char *text, const char *pointer)
{
    const char *const *choice;
    const char *list = "";

    if (!choices) {
        return 1;
    }
    for (choice = choices; *choice; choice++) {
        if (strcmp(*choice, text) == 0) {
            return 1;
        }
    }
    for (choice = choices; *choice; choice++) {
        list = apr_pstrcat(run->pool, list, *list ? ", " : "", *choice, NULL);
    }
    report(run, pointer, "choice", apr_pstrcat(run->pool, "one of these is expected: ", list, NULL));
    return 0;
}

static int is_type(run_t *run, const mpx_json_t *value, mpx_json_type_e type, const char *detail, const char *pointer)
{
    if (value->type != type) {
        report(run, pointer, "type", detail);
    }
    return value->type == type;
}

static void read_string(run_t *run, const mpx_json_t *value, const mpx_field_t *field, void *target, const char *pointer)
{
    if (is_type(run, value, MPX_JSON_STRING, "a string is expected", pointer)
        && size_fits(run, field, mpx_utf8_characters(value->text, value->len), "characters", pointer)
        && choice_fits(run, field->choices, value->text, pointer)
        && check_holds(run, field->check, value->text, value->len, pointer)) {
        *(const char **)target = value->text;
    }
}

/* A JSON integer without fraction and exponent. @return 1; 0 if it is none; -1 if it does not fit */
static int integer_value(const mpx_json_t *value, apr_int64_t *out)
{
    const char *p = value->text, *end = p + value->len;
    int negative = *p == '-';
    apr_uint64_t n = 0;

    p += negative;
    if (memchr(p, '.', (apr_size_t)(end - p)) || memchr(p, 'e', (apr_size_t)(end - p))
        || memchr(p, 'E', (apr_size_t)(end - p))) {
        return 0;
    }
    if (end - p > INT_DIGITS) {
        return -1;
    }
    for (; p < end; p++) {
        n = n * 10 + (apr_uint64_t)(*p - '0');
    }
    if (n > (apr_uint64_t)APR_INT64_MAX) {
        return -1;
    }
    *out = negative ? -(apr_int64_t)n : (apr_int64_t)n;
    return 1;
}

/* An object of anything. Its numbers are those that NUMERIC keeps: 1e130000 is nine characters here and 130,001 in each
 * answer of the database. */
static void read_free_object(run_t *run, const mpx_json_t *value, const mpx_field_t *field, void *target,
                             const char *pointer)
{
    const char *number;

    if (!is_type(run, value, MPX_JSON_OBJECT, "an object is expected", pointer)
        || !size_fits(run, field, value->len, "bytes", pointer)) {
        return;
    }
    number = mpx_json_numbers_in_range(run->pool, value, pointer);
    if (number) {
        report(run, number, "range", "at most 38 digits before and 18 after the point are allowed");
        return;
    }
    *(const mpx_json_t **)target = value;
}

static void out_of_range(run_t *run, const mpx_field_t *field, const char *pointer)
{
    report(run, pointer, "range",
           bounded(field) ? apr_psprintf(run->pool, "%" APR_INT64_T_FMT " to %" APR_INT64_T_FMT " is allowed",
                                         field->min, field->max)
                          : "the number is too large");
}

static void read_int(run_t *run, const mpx_json_t *value, const mpx_field_t *field, void *target, const char *pointer)
{
    apr_int64_t n = 0;
    int fits;

    if (!is_type(run, value, MPX_JSON_NUMBER, "an integer is expected", pointer)) {
        return;
    }
    fits = integer_value(value, &n);
    if (fits == 0) {
        report(run, pointer, "type", "an integer is expected, without fraction and exponent");
    }
    else if (fits < 0 || (bounded(field) && (n < field->min || n > field->max))) {
        out_of_range(run, field, pointer);
    }
    else {
        *(apr_int64_t *)target = n;
    }
}

static void read_bool(run_t *run, const mpx_json_t *value, void *target, const char *pointer)
{
    if (value->type != MPX_JSON_TRUE && value->type != MPX_JSON_FALSE) {
        report(run, pointer, "type", "true or false is expected");
        return;
    }
    *(int *)target = value->type == MPX_JSON_TRUE;
}

static void read_time(run_t *run, const mpx_json_t *value, void *target, const char *pointer)
{
    if (is_type(run, value, MPX_JSON_STRING, "a string is expected", pointer)
        && !mpx_time_parse(value->text, value->len, target)) {
        report(run, pointer, "format", "an RFC 3339 date-time is expected, such as 2026-11-20T22:18:00Z");
    }
}

static int decimal_fits(const mpx_decimal_t *d, const mpx_field_t *field)
{
    char text[24];
    mpx_decimal_t bound;
    int len;

    len = apr_snprintf(text, sizeof(text), "%" APR_INT64_T_FMT, field->min);
    if (mpx_decimal_parse(text, (apr_size_t)len, &bound) != MPX_DECIMAL_OK || mpx_decimal_compare(d, &bound) < 0) {
        return 0;
    }
    len = apr_snprintf(text, sizeof(text), "%" APR_INT64_T_FMT, field->max);
    return mpx_decimal_parse(text, (apr_size_t)len, &bound) == MPX_DECIMAL_OK && mpx_decimal_compare(d, &bound) <= 0;
}

static void read_decimal(run_t *run, const mpx_json_t *value, const mpx_field_t *field, void *target,
                         const char *pointer)
{
    char text[MPX_DECIMAL_TEXT];
    mpx_decimal_t d;

    if (!is_type(run, value, MPX_JSON_STRING, "a string of plain decimal text is expected, such as \"12.50\"", pointer)) {
        return;
    }
    switch (mpx_decimal_parse(value->text, value->len, &d)) {
    case MPX_DECIMAL_OK:
        break;
    case MPX_DECIMAL_RANGE:
        report(run, pointer, "range", "at most 38 digits before and 18 after the point are allowed");
        return;
    default:
        report(run, pointer, "format", "plain decimal text is expected, such as 12.50");
        return;
    }
    if (bounded(field) && !decimal_fits(&d, field)) {
        out_of_range(run, field, pointer);
        return;
    }
    *(const char **)target = apr_pstrdup(run->pool, mpx_decimal_format(&d, text));
}

static void read_strings(run_t *run, const mpx_json_t *value, const mpx_field_t *field, void *target,
                         const char *pointer)
{
    const mpx_json_t *item;
    apr_array_header_t *array;
    int found = run->found, i = 0;

    if (!is_type(run, value, MPX_JSON_ARRAY, "an array of strings is expected", pointer)
        || !size_fits(run, field, value->count, "items", pointer)) {
        return;
    }
    array = apr_array_make(run->pool, (int)value->count + 1, sizeof(const char *));
    for (item = value->first; item; item = item->next, i++) {
        const char *at = apr_psprintf(run->pool, "%s/%d", pointer, i);

        if (is_type(run, item, MPX_JSON_STRING, "a string is expected", at)
            && choice_fits(run, field->choices, item->text, at)
            && check_holds(run, field->check, item->text, item->len, at)) {
            APR_ARRAY_PUSH(array, const char *) = item->text;
        }
    }
    if (run->found == found) {
        *(apr_array_header_t **)target = array;
    }
}

static void read_string_map(run_t *run, const mpx_json_t *value, const mpx_field_t *field, void *target,
                            const char *pointer)
{
    const mpx_json_t *member;
    apr_table_t *table;

    if (!is_type(run, value, MPX_JSON_OBJECT, "an object of strings is expected", pointer)
        || !size_fits(run, field, value->count, "members", pointer)) {
        return;
    }
    table = apr_table_make(run->pool, (int)value->count + 1);
    for (member = value->first; member; member = member->next) {
        const char *at = pointer_to(run, pointer, member->name);

        if (check_holds(run, field->check, member->name, member->name_len, at)
            && is_type(run, member, MPX_JSON_STRING, "a string is expected", at)) {
            apr_table_addn(table, member->name, member->text);
        }
    }
    *(apr_table_t **)target = table;
}

static void read_object(run_t *run, const mpx_json_t *body, const char *prefix, const mpx_field_t *fields, void *target);

static void read_field(run_t *run, const mpx_json_t *value, const mpx_field_t *field, void *target, const char *pointer)
{
    switch (field->type) {
    case MPX_FIELD_STRING:
        read_string(run, value, field, target, pointer);
        break;
    case MPX_FIELD_INT:
        read_int(run, value, field, target, pointer);
        break;
    case MPX_FIELD_BOOL:
        read_bool(run, value, target, pointer);
        break;
    case MPX_FIELD_TIME:
        read_time(run, value, target, pointer);
        break;
    case MPX_FIELD_DECIMAL:
        read_decimal(run, value, field, target, pointer);
        break;
    case MPX_FIELD_OBJECT:
        if (field->fields) {
            read_object(run, value, pointer, field->fields, target);
        }
        else {
            read_free_object(run, value, field, target, pointer);
        }
        break;
    case MPX_FIELD_STRINGS:
        read_strings(run, value, field, target, pointer);
        break;
    case MPX_FIELD_STRING_MAP:
        read_string_map(run, value, field, target, pointer);
        break;
    }
}

static void read_object(run_t *run, const mpx_json_t *body, const char *prefix, const mpx_field_t *fields, void *target)
{
    apr_uint64_t *present = target;
    const mpx_json_t *member;
    const mpx_field_t *field;

    *present = 0;
    if (!is_type(run, body, MPX_JSON_OBJECT, "an object is expected", prefix)) {
        return;
    }
    for (member = body->first; member; member = member->next) {
        const char *pointer = pointer_to(run, prefix, member->name);

        for (field = fields; field->name && strcmp(field->name, member->name) != 0; field++) {
            continue;
        }
        if (!field->name) {
            report(run, pointer, "unknown_field", "there is no field of this name");
            continue;
        }
        *present |= (apr_uint64_t)1 << (field - fields);
        if (member->type != MPX_JSON_NULL || !(field->flags & MPX_FIELD_NULLABLE)) {
            read_field(run, member, field, (char *)target + field->offset, pointer);
        }
    }
    for (field = fields; field->name; field++) {
        if ((field->flags & MPX_FIELD_REQUIRED) && !(*present >> (field - fields) & 1)) {
            report(run, pointer_to(run, prefix, field->name), "required", "the field is required");
        }
    }
}

int mpx_schema_read(apr_pool_t *pool, const mpx_json_t *body, const char *prefix, const mpx_field_t *fields,
                    void *target, apr_array_header_t *errors)
{
    run_t run = { pool, errors, 0, 0 };

    read_object(&run, body, prefix, fields, target);
    mpx_field_errors_end(pool, errors, run.dropped);
    return run.found;
}

void mpx_field_error_add(apr_array_header_t *errors, const char *pointer, const char *code, const char *detail)
{
    mpx_field_error_t *error = apr_array_push(errors);

    error->pointer = pointer;
    error->code = code;
    error->detail = detail;
}

void mpx_field_error_report(apr_array_header_t *errors, int *dropped, const char *pointer, const char *code,
                            const char *detail)
{
    if (errors->nelts >= MPX_FIELD_ERRORS_MAX) {
        ++*dropped;
        return;
    }
    mpx_field_error_add(errors, pointer, code, detail);
}

void mpx_field_errors_end(apr_pool_t *pool, apr_array_header_t *errors, int dropped)
{
    mpx_field_error_t *last;

    if (dropped > 0) {
        last = &APR_ARRAY_IDX(errors, errors->nelts - 1, mpx_field_error_t);
        last->detail = apr_psprintf(pool, "%s; %d further errors are not listed", last->detail, dropped);
    }
}

/* --- checks ---------------------------------------------------------------------------------------- */

static int lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

const char *mpx_check_slug(const char *text, apr_size_t len, const char **detail)
{
    apr_size_t i;

    *detail = "a to z, 0 to 9, _ and - are allowed, with a letter or digit at both ends";
    if (len == 0 || !lower_alnum(text[0]) || !lower_alnum(text[len - 1])) {
        return "pattern";
    }
    for (i = 0; i < len; i++) {
        if (!lower_alnum(text[i]) && text[i] != '_' && text[i] != '-') {
            return "pattern";
        }
    }
    return NULL;
}

const char *mpx_check_scope(const char *text, apr_size_t len, const char **detail)
{
    apr_size_t i;
    int colons = 0;

    *detail = "a scope such as weather:read is expected: a to z, 0 to 9, _ . * - and a colon between";
    for (i = 0; i < len; i++) {
        colons += text[i] == ':';
        if (!lower_alnum(text[i]) && !(text[i] && strchr("_.:*-", text[i]))) {
            return "pattern";
        }
    }
    return colons == 0 || text[0] == ':' || text[len - 1] == ':' ? "pattern" : NULL;
}

/* The first control character (Unicode general category Cc) that is not in allowed? */
static int has_control(const char *text, apr_size_t len, const char *allowed)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + len;

    for (; p < end; p++) {
        if ((*p < 0x20 && !(*p && strchr(allowed, *p))) || *p == 0x7F
            || (*p == 0xC2 && end - p > 1 && p[1] >= 0x80 && p[1] < 0xA0)) {
            return 1;
        }
    }
    return 0;
}

const char *mpx_check_text(const char *text, apr_size_t len, const char **detail)
{
    *detail = "control characters other than tab and newline are not allowed";
    return has_control(text, len, "\t\n") ? "pattern" : NULL;
}

const char *mpx_check_line(const char *text, apr_size_t len, const char **detail)
{
    *detail = "control characters are not allowed";
    return has_control(text, len, "") ? "pattern" : NULL;
}

const char *mpx_check_cidr(const char *text, apr_size_t len, const char **detail)
{
    mpx_cidr_t cidr;

    *detail = "an IPv4 or IPv6 address or block is expected, such as 192.0.2.0/24, with no bits set behind the prefix";
    return mpx_cidr_parse(text, &cidr) ? NULL : "format";
}
