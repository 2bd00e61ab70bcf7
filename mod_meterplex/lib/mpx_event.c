/* mpx_event: usage events out of their five wire forms. Binary mode is turned into the JSON form of the event
 * first (CloudEvents HTTP binding, section 3.1), so that each rule on an attribute stands here once.
 */
#include <stddef.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include "mpx_decimal.h"
#include "mpx_event.h"
#include "mpx_utf8.h"

#define PLACES_MAX 16383       /* places behind the point that NUMERIC keeps, PostgreSQL 15 manual section 8.1.2 */
#define NUMBER_LONGEST 1000000 /* characters, so that places and exponents are small numbers */
#define OCCURRENCES_MAX 1000000000
#define RANGE_DETAIL "at most 38 digits before and 18 after the point are allowed"

/* One call of a public reader */
typedef struct run {
    apr_pool_t *pool;
    const mpx_event_rules_t *rules;
    int specversion_required;
    apr_array_header_t *events, *errors;
    int found, dropped;
    apr_int64_t index; /* of the event being read; -1 when it is not in an array */
    int raw_text;      /* texts come from header fields: nobody has looked at their UTF-8 yet */
} run_t;

typedef struct attribute attribute_t;
typedef void attribute_fn(run_t *run, const attribute_t *attribute, const mpx_json_t *value, mpx_event_t *event);

struct attribute {
    const char *name;
    apr_size_t len, max; /* of the name; of the value in characters, 0: no bound of its own */
    attribute_fn *read;
    int kept; /* a text with a place in mpx_event_t, at offset */
    apr_size_t offset;
};

static attribute_fn read_text, read_source, read_specversion, read_content_type, read_time, read_occurrences, read_data,
    read_base64;

#define NAMED(text) text, sizeof(text) - 1
static const attribute_t attributes[] = {
    { NAMED("id"), 256, read_text, 1, offsetof(mpx_event_t, id) },
    { NAMED("source"), 256, read_source, 1, offsetof(mpx_event_t, source) },
    { NAMED("type"), 128, read_text, 1, offsetof(mpx_event_t, type) },
    { NAMED("specversion"), 0, read_specversion, 0, 0 },
    { NAMED("subject"), 256, read_text, 1, offsetof(mpx_event_t, subject) },
    { NAMED("time"), 0, read_time, 0, 0 },
    { NAMED("data"), 0, read_data, 0, 0 },
    { NAMED("occurrences"), 0, read_occurrences, 0, 0 },
    { NAMED("datacontenttype"), 0, read_content_type, 0, 0 },
    { NAMED("dataschema"), 0, read_text, 0, 0 },
    { NAMED("traceparent"), 0, read_text, 0, 0 },
    { NAMED("tracestate"), 0, read_text, 0, 0 },
    { NAMED("data_base64"), 0, read_base64, 0, 0 },
};
#define ATTRIBUTES (sizeof(attributes) / sizeof(attributes[0]))
#define REQUIRED_ALWAYS 3 /* the first of the table; the next one is specversion */

/* Pointers are made for errors only. */
static const char *pointer_to(const run_t *run, const char *name)
{
    const char *token = name ? mpx_json_pointer_token(run->pool, name) : NULL;

    if (run->index < 0) {
        return token ? apr_pstrcat(run->pool, "/", token, NULL) : "";
    }
    return apr_psprintf(run->pool, "/%" APR_INT64_T_FMT "%s%s", run->index, token ? "/" : "", token ? token : "");
}

static void report_at(run_t *run, const char *pointer, const char *code, const char *detail)
{
    run->found++;
    mpx_field_error_report(run->errors, &run->dropped, pointer, code, detail);
}

static void report(run_t *run, const char *name, const char *code, const char *detail)
{
    /* beyond the listed ones only the number counts */
    report_at(run, run->errors->nelts < MPX_FIELD_ERRORS_MAX ? pointer_to(run, name) : "", code, detail);
}

static int is_string(run_t *run, const attribute_t *attribute, const mpx_json_t *value)
{
    if (value->type != MPX_JSON_STRING) {
        report(run, attribute->name, "type", "a string is expected");
        return 0;
    }
    if (run->raw_text && !mpx_json_utf8_valid(value->text, value->len)) {
        report(run, attribute->name, "format", "UTF-8 is expected");
        return 0;
    }
    return 1;
}

static void read_text(run_t *run, const attribute_t *attribute, const mpx_json_t *value, mpx_event_t *event)
{
    const char *code, *detail;

    if (!is_string(run, attribute, value)) {
        return;
    }
    if (value->len == 0 || (attribute->max && mpx_utf8_characters(value->text, value->len) > attribute->max)) {
        report(run, attribute->name, "length",
               attribute->max ? apr_psprintf(run->pool, "1 to %" APR_SIZE_T_FMT " characters are allowed", attribute->max)
                              : "an empty text is not allowed");
        return;
    }
    code = mpx_check_line(value->text, value->len, &detail);
    if (code) {
        report(run, attribute->name, code, detail);
    }
    else if (attribute->kept) {
        *(const char **)((char *)event + attribute->offset) = value->text;
    }
}

/* Nobody may speak, or take an id, as one of our own counters or as an imported log. */
static void read_source(run_t *run, const attribute_t *attribute, const mpx_json_t *value, mpx_event_t *event)
{
    read_text(run, attribute, value, event);
    if (event->source && strncasecmp(event->source, MPX_EVENT_SOURCE_RESERVED, sizeof(MPX_EVENT_SOURCE_RESERVED) - 1) == 0) {
        report(run, attribute->name, "reserved",
               "sources that begin with " MPX_EVENT_SOURCE_RESERVED " are made by Meterplex itself");
    }
}

static void read_specversion(run_t *run, const attribute_t *attribute, const mpx_json_t *value, mpx_event_t *event)
{
    if (is_string(run, attribute, value) && strcmp(value->text, "1.0") != 0) {
        report(run, attribute->name, "choice", "the version 1.0 of CloudEvents is expected");
    }
}

static void read_content_type(run_t *run, const attribute_t *attribute, const mpx_json_t *value, mpx_event_t *event)
{
    static const char json[] = "application/json";
    const char *rest;

    if (!is_string(run, attribute, value)) {
        return;
    }
    rest = value->text + sizeof(json) - 1;
    if (value->len >= sizeof(json) - 1 && strncasecmp(value->text, json, sizeof(json) - 1) == 0) {
        while (*rest == ' ' || *rest == '\t') {
            rest++;
        }
        if (*rest == '\0' || *rest == ';') {
            return;
        }
    }
    report(run, attribute->name, "choice", "data must be application/json");
}

static void read_time(run_t *run, const attribute_t *attribute, const mpx_json_t *value, mpx_event_t *event)
{
    const mpx_event_rules_t *rules = run->rules;
    apr_time_t t;

    if (!is_string(run, attribute, value)) {
        return;
    }
    if (!mpx_time_parse(value->text, value->len, &t)) {
        report(run, attribute->name, "format", "an RFC 3339 date-time is expected, such as 2026-11-20T22:18:00Z");
    }
    else if (t - rules->now > rules->ahead) {
        report(run, attribute->name, "range", "the time lies too far in the future");
    }
    else if (rules->behind >= 0 && rules->now - t > rules->behind) {
        report(run, attribute->name, "range", "the time lies too far in the past");
    }
    else {
        event->time = t;
    }
}

static void read_occurrences(run_t *run, const attribute_t *attribute, const mpx_json_t *value, mpx_event_t *event)
{
    const char *p = value->text, *end = p + value->len;
    apr_int64_t n = 0;
    int negative = value->type == MPX_JSON_NUMBER && *p == '-';

    for (p += negative; p < end && apr_isdigit(*p); p++) {
        n = n <= OCCURRENCES_MAX ? n * 10 + (*p - '0') : n;
    }
    if (value->type != MPX_JSON_NUMBER || p < end) {
        report(run, attribute->name, "type", "an integer is expected, without fraction and exponent");
    }
    else if (negative || n < 1 || n > OCCURRENCES_MAX) {
        report(run, attribute->name, "range", "1 to 1000000000 is allowed");
    }
    else {
        event->occurrences = n;
    }
}

static void read_base64(run_t *run, const attribute_t *attribute, const mpx_json_t *value, mpx_event_t *event)
{
    report(run, attribute->name, "unsupported", "binary data cannot be metered: send a JSON object as data");
}

/* --- numbers in range ------------------------------------------------------------------------------ */

/* The way from the value that is walked down to one below it */
typedef struct step {
    const struct step *up;
    const char *name; /* or, in an array, */
    apr_size_t index;
} step_t;

/* @return 1 to walk on, 0 to stop */
typedef int number_fn(void *baton, const step_t *step);

static const char *step_pointer(apr_pool_t *pool, const step_t *step, const char *prefix)
{
    const char *above;

    if (!step) {
        return prefix;
    }
    above = step_pointer(pool, step->up, prefix);
    return step->name ? apr_pstrcat(pool, above, "/", mpx_json_pointer_token(pool, step->name), NULL)
                      : apr_psprintf(pool, "%s/%" APR_SIZE_T_FMT, above, step->index);
}

/* What stands behind the 'e', as far as it matters. @param p behind it, or the end */
static int exponent_of(const char *p, const char *end)
{
    int sign = p < end && *p == '-' ? -1 : 1, exponent = 0;

    for (p += p < end && (*p == '-' || *p == '+'); p < end && exponent <= PLACES_MAX; p++) {
        exponent = exponent * 10 + (*p - '0');
    }
    return sign * exponent;
}

/* The value is not all: the database keeps places behind the point as they are written, of 1.000 and of 0e-3, and has room
 * for PLACES_MAX of them. Zero fits with any exponent, and what is kept of it would be places of nothing. */
static int number_in_range(const mpx_json_t *number)
{
    static const mpx_decimal_t zero;
    const char *p = number->text, *end = p + number->len, *point = NULL;
    int exponent, places;
    mpx_decimal_t d;

    while (p < end && (*p | 0x20) != 'e') {
        point = *p == '.' ? p : point;
        p++;
    }
    if (p == end && number->len <= MPX_DECIMAL_FRAC_DIGITS) {
        return 1; /* no exponent and so few characters: nothing to count */
    }
    if (number->len > NUMBER_LONGEST || mpx_decimal_parse_json(number->text, number->len, &d) != MPX_DECIMAL_OK) {
        return 0;
    }
    places = point ? (int)(p - point) - 1 : 0;
    exponent = exponent_of(p + (p < end), end);
    return places - exponent <= PLACES_MAX
        && (exponent == 0 || mpx_decimal_compare(&d, &zero) != 0
            || (exponent >= -MPX_DECIMAL_FRAC_DIGITS && exponent < MPX_DECIMAL_INT_DIGITS));
}

/* Recursion is bounded: the reader that made value has kept to its limit of depth. */
static int numbers_walk(const mpx_json_t *value, const step_t *here, number_fn *found, void *baton)
{
    const mpx_json_t *child;
    step_t step = { here, NULL, 0 };

    if (value->type == MPX_JSON_NUMBER) {
        return number_in_range(value) || found(baton, here);
    }
    if (value->type < MPX_JSON_ARRAY) {
        return 1;
    }
    for (child = value->first; child; child = child->next, step.index++) {
        step.name = child->name;
        if ((child->type == MPX_JSON_NUMBER || child->type >= MPX_JSON_ARRAY)
            && !numbers_walk(child, &step, found, baton)) {
            return 0;
        }
    }
    return 1;
}

static int number_report(void *baton, const step_t *step)
{
    run_t *run = baton;
    int listed = run->errors->nelts < MPX_FIELD_ERRORS_MAX;

    report_at(run, listed ? step_pointer(run->pool, step, pointer_to(run, "data")) : "", "range", RANGE_DETAIL);
    return 1;
}

static void read_data(run_t *run, const attribute_t *attribute, const mpx_json_t *value, mpx_event_t *event)
{
    if (value->type != MPX_JSON_OBJECT) {
        report(run, attribute->name, "type", "an object is expected");
        return;
    }
    if (value->len > MPX_EVENT_DATA_MAX) {
        report(run, attribute->name, "length", "at most 65536 bytes are allowed");
        return;
    }
    numbers_walk(value, NULL, number_report, run);
    event->data = value->text;
    event->data_len = value->len;
}

typedef struct first_number {
    apr_pool_t *pool;
    const char *prefix, *pointer;
} first_number_t;

static int number_first(void *baton, const step_t *step)
{
    first_number_t *first = baton;

    first->pointer = step_pointer(first->pool, step, first->prefix);
    return 0;
}

const char *mpx_json_numbers_in_range(apr_pool_t *pool, const mpx_json_t *value, const char *prefix)
{
    first_number_t first = { pool, prefix, NULL };

    numbers_walk(value, NULL, number_first, &first);
    return first.pointer;
}

/* --- one event, many events ------------------------------------------------------------------------ */

static const attribute_t *attribute_find(const mpx_json_t *member)
{
    const attribute_t *attribute;

    for (attribute = attributes; attribute < attributes + ATTRIBUTES; attribute++) {
        if (attribute->len == member->name_len && memcmp(attribute->name, member->name, attribute->len) == 0) {
            return attribute;
        }
    }
    return NULL;
}

static void read_event(run_t *run, const mpx_json_t *body)
{
    mpx_event_t event = { NULL, NULL, NULL, NULL, run->rules->now, 1, NULL, 0 };
    const mpx_json_t *member;
    const attribute_t *attribute;
    unsigned given = 0, i;
    int found = run->found;

    if (body->type != MPX_JSON_OBJECT) {
        report(run, NULL, "type", "an event is an object");
        return;
    }
    for (member = body->first; member; member = member->next) {
        attribute = attribute_find(member);
        if (!attribute) {
            report(run, member->name, "unknown_field", "there is no attribute of this name");
        }
        else if (member->type != MPX_JSON_NULL) {
            given |= 1u << (attribute - attributes);
            attribute->read(run, attribute, member, &event);
        }
    }
    for (i = 0; i < REQUIRED_ALWAYS + (run->specversion_required ? 1u : 0u); i++) {
        if (!(given >> i & 1)) {
            report(run, attributes[i].name, "required", "the attribute is required");
        }
    }
    if (run->found == found) {
        APR_ARRAY_PUSH(run->events, mpx_event_t) = event;
    }
}

static int run_end(run_t *run)
{
    mpx_field_errors_end(run->pool, run->errors, run->dropped);
    return run->found;
}

static int too_many(run_t *run)
{
    run->index = -1;
    report(run, NULL, "length",
           apr_psprintf(run->pool, "at most %" APR_SIZE_T_FMT " events are allowed in a request",
                        run->rules->max_events));
    return run->found;
}

int mpx_events_read(apr_pool_t *pool, const mpx_json_t *body, int structured, int array_allowed, int object_allowed,
                    const mpx_event_rules_t *rules, apr_array_header_t *events, apr_array_header_t *errors)
{
    run_t run = { pool, rules, structured, events, errors, 0, 0, -1, 0 };
    const mpx_json_t *child;

    if (body->type == MPX_JSON_ARRAY && array_allowed) {
        if (body->count > rules->max_events) {
            return too_many(&run);
        }
        for (child = body->first, run.index = 0; child; child = child->next, run.index++) {
            read_event(&run, child);
        }
        return run_end(&run);
    }
    if (body->type == MPX_JSON_OBJECT && object_allowed) {
        read_event(&run, body);
        return run_end(&run);
    }
    report(&run, NULL, "type",
           !array_allowed        ? "an object is expected"
               : !object_allowed ? "an array of objects is expected"
                                 : "an object or an array of objects is expected");
    return run.found;
}

static int is_blank(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r')) {
        p++;
    }
    return p == end;
}

/* Recursion is bounded by the reader's limit of depth. */
static apr_size_t values_in(const mpx_json_t *value)
{
    const mpx_json_t *child;
    apr_size_t n = 1;

    for (child = value->first; child; child = child->next) {
        n += values_in(child);
    }
    return n;
}

int mpx_events_read_ndjson(apr_pool_t *pool, const char *body, apr_size_t len, const mpx_event_rules_t *rules,
                           apr_array_header_t *events, apr_array_header_t *errors, mpx_json_error_t *syntax)
{
    run_t run = { pool, rules, 0, events, errors, 0, 0, 0, 0 };
    const char *line = body, *end = body + len, *stop;
    mpx_json_limits_t limits = rules->json; /* of values: all lines together, since all stay in memory */
    int before = errors->nelts;
    mpx_json_t *event;

    for (; line < end; line = stop + 1) {
        stop = memchr(line, '\n', (apr_size_t)(end - line));
        if (!stop) {
            stop = end;
        }
        if (is_blank(line, stop)) {
            continue;
        }
        if ((apr_size_t)run.index == rules->max_events) {
            errors->nelts = before;
            run.found = run.dropped = 0;
            return too_many(&run);
        }
        if (mpx_json_parse(pool, line, (apr_size_t)(stop - line), &limits, &event, syntax) != APR_SUCCESS) {
            syntax->offset += (apr_size_t)(line - body);
            return -1;
        }
        limits.values -= values_in(event);
        read_event(&run, event);
        run.index++;
    }
    return run_end(&run);
}

/* --- binary mode ----------------------------------------------------------------------------------- */

/* The object that the attributes stand for, as far as it has grown */
typedef struct binary {
    run_t *run;
    mpx_json_t *object, *last;
} binary_t;

static void binary_append(binary_t *binary, mpx_json_t *member)
{
    if (binary->last) {
        binary->last->next = member;
    }
    else {
        binary->object->first = member;
    }
    binary->last = member;
    binary->object->count++;
}

static int binary_member(void *baton, const char *name, const char *value)
{
    binary_t *binary = baton;
    run_t *run = binary->run;
    mpx_json_t *member;
    const char *p = value;

    if (mpx_json_member(binary->object, name)) {
        report(run, name, "duplicate", "the attribute is given twice");
        return 1;
    }
    if (strcmp(name, "data") == 0) {
        report(run, name, "unknown_field", "in binary mode the body is the data");
        return 1;
    }
    member = apr_pcalloc(run->pool, sizeof(*member));
    member->type = MPX_JSON_STRING;
    member->name = name;
    member->name_len = (unsigned)strlen(name);
    member->text = value;
    member->len = strlen(value);
    if (strcmp(name, "occurrences") == 0) {
        while (apr_isdigit(*p)) {
            p++;
        }
        member->type = p > value && *p == '\0' ? MPX_JSON_NUMBER : MPX_JSON_STRING;
    }
    binary_append(binary, member);
    return 1;
}

int mpx_event_read_binary(apr_pool_t *pool, const apr_table_t *table, const mpx_json_t *data,
                          const mpx_event_rules_t *rules, apr_array_header_t *events, apr_array_header_t *errors)
{
    run_t run = { pool, rules, 1, events, errors, 0, 0, -1, 1 };
    mpx_json_t object, member;
    binary_t binary = { &run, &object, NULL };
    int before = events->nelts;

    memset(&object, 0, sizeof(object));
    object.type = MPX_JSON_OBJECT;
    apr_table_do(binary_member, &binary, table, NULL);
    if (data) {
        member = *data;
        member.name = "data";
        member.name_len = 4;
        member.next = NULL;
        binary_append(&binary, &member);
    }
    read_event(&run, &object);
    if (run.found > 0) {
        events->nelts = before;
    }
    return run_end(&run);
}
