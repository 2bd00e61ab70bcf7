/* mpx_event: a usage event (CloudEvents 1.0.2) in its five wire forms, and the JSON path that a meter uses. Pure. */
#ifndef MPX_EVENT_H
#define MPX_EVENT_H

#include <apr_tables.h>
#include "mpx_json.h"
#include "mpx_schema.h"

typedef struct mpx_event {
    const char *id, *source, *type, *subject; /* subject: NULL when absent */
    apr_time_t time;
    apr_int64_t occurrences;
    const char *data;      /* JSON object text with every number in range, or NULL when absent */
    apr_size_t data_len;
} mpx_event_t;

/* Bytes of one event's data as sent: what every receiver of CloudEvents forwards (CloudEvents 1.0.2, "Size Limits"). */
#define MPX_EVENT_DATA_MAX 65536

/* How the sources of events begin that we make ourselves; refused in what others send (code "reserved"). */
#define MPX_EVENT_SOURCE_RESERVED "urn:meterplex:"

typedef struct mpx_event_rules {
    apr_time_t now;                   /* default time, and the centre of the window */
    apr_interval_time_t ahead, behind; /* how far a time may lie from now; behind < 0: any (backfill) */
    apr_size_t max_events;            /* 10,000 */
    mpx_json_limits_t json;
} mpx_event_rules_t;

/* Attributes beside those of the struct: specversion ("1.0"), datacontenttype (application/json), dataschema,
 * traceparent and tracestate are checked and not kept; any other name, data_base64 too, is an error. An
 * attribute that is null counts as absent (CloudEvents JSON format, section 2.2); so does null as data.
 *
 * Codes of errors: required, unknown_field, unsupported (data_base64), type, length, pattern, choice, format
 * (time, UTF-8), reserved (source), range (time, occurrences, numbers in data), duplicate (a binary attribute given
 * twice). At most
 * MPX_FIELD_ERRORS_MAX are listed; the last one's detail says how many more there are. More than max_events
 * events are one error at "". With errors, events holds those that are valid.
 * Texts in the results point into the body or its parsed form, or live in pool. */

/* Structured (application/cloudevents+json: specversion required) or plain application/json (specversion
 * optional) object; a plain body or a batch may be an array of them.
 * @param body       the parsed request body
 * @param structured 1: CloudEvents attributes are strictly required
 * @param events     array of mpx_event_t, appended to
 * @param errors     array of mpx_field_error_t; pointers are "/17/time" in an array, "/time" for one object
 * @return number of errors */
int mpx_events_read(apr_pool_t *pool, const mpx_json_t *body, int structured, int array_allowed, int object_allowed,
                    const mpx_event_rules_t *rules, apr_array_header_t *events, apr_array_header_t *errors);

/* NDJSON: one object a line, blank lines skipped; pointers count the events from 0, as in an array; a line that is not
 * JSON is an error of the whole body:
 * @return -1 and *syntax set (offset counted in the body), else the number of field errors */
int mpx_events_read_ndjson(apr_pool_t *pool, const char *body, apr_size_t len, const mpx_event_rules_t *rules,
                           apr_array_header_t *events, apr_array_header_t *errors, mpx_json_error_t *syntax);

/* Binary mode: attributes from ce-* headers, body is data (may be empty).
 * @param attributes  names without the "ce-", lower case, values percent-decoded by the caller
 * @param data        the parsed body, or NULL when it is empty
 * @return number of errors; pointers are "/time", "/data/x" */
int mpx_event_read_binary(apr_pool_t *pool, const apr_table_t *attributes, const mpx_json_t *data,
                          const mpx_event_rules_t *rules, apr_array_header_t *events, apr_array_header_t *errors);

/* Every number in a JSON value fits 38 digits before and 18 after the point?
 * @return NULL, or the pointer (under prefix) of the first that does not */
const char *mpx_json_numbers_in_range(apr_pool_t *pool, const mpx_json_t *value, const char *prefix);

/* JSON path of a meter: "$.a.b", "$['a b']", "$.a[0].b": names and indexes only (RFC 9535 singular queries).
 * An index may be negative (from the end). "$" alone, all of data, has no steps.
 * @return array of const char * steps, ready for PostgreSQL's #> text[] operator, or NULL */
apr_array_header_t *mpx_jsonpath_parse(apr_pool_t *pool, const char *path);

#endif
