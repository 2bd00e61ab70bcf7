/* usage_domain.h: rules of meters and of their queries. Pure: no httpd, no SQL, no clock. */
#ifndef USAGE_DOMAIN_H
#define USAGE_DOMAIN_H

#include "../include/meterplex_call.h"

#define USAGE_DIMENSIONS_MAX 16
#define USAGE_FILTER_VALUES_MAX 100
#define USAGE_FILTERS_MAX 65536 /* bytes of all values */
#define USAGE_PATH_MAX 256      /* bytes of a path, or of a filter's name */
#define USAGE_WINDOWS_MAX 10000
/* Of one answer, which is made in memory: values, and bytes, whatever texts the sender of the events and the maker of the
 * meter have chosen. */
#define USAGE_VALUES_MAX 100000
#define USAGE_ANSWER_MAX (16 * 1024 * 1024)

typedef enum usage_aggregation {
    USAGE_COUNT, USAGE_SUM, USAGE_MIN, USAGE_MAX, USAGE_AVG, USAGE_UNIQUE_COUNT, USAGE_LATEST
} usage_aggregation_e;

extern const char *const usage_aggregations[]; /* names, in that order, ended by NULL */

/* @return the value, or -1 */
int usage_aggregation_of(const char *name);
/* What a window without events is worth: "0" for counts and sums, NULL (no value) for the others. */
const char *usage_zero(usage_aggregation_e aggregation);

typedef enum usage_window { USAGE_WINDOW_NONE, USAGE_MINUTE, USAGE_HOUR, USAGE_DAY, USAGE_MONTH } usage_window_e;
/* @return the value, or -1 */
int usage_window_of(const char *name);
/* Usual length of such a window, microseconds (of a month, 28 days): for judging how many there are in a range. A change of
 * the clock makes a few shorter. */
apr_interval_time_t usage_window_length(usage_window_e window);

/* A JSON path as PostgreSQL's array literal ('{"a","b"}'). @return NULL when the path is malformed */
const char *usage_path_literal(apr_pool_t *pool, const char *path);
/* A list of texts as an array literal. */
const char *usage_text_literal(apr_pool_t *pool, const apr_array_header_t *texts);

/* Check a meter's parts against each other and add field errors.
 * @param group_by  the body's map name -> path, or NULL @param filters the body's object name -> [values], or NULL
 * @return number of errors */
int usage_meter_check(apr_pool_t *pool, const char *aggregation, const char *value_property, const apr_table_t *group_by,
                      const mpx_json_t *filters, apr_array_header_t *errors);

/* A meter's group_by or filters as they are stored. @return parsed, in the pool; NULL when it is no JSON */
const mpx_json_t *usage_stored_json(apr_pool_t *pool, const char *text);

/* Where a filter's or group's name looks: a name of group_by, a "$.path", or else a property of data.
 * @param group_by  parsed object name -> path @return array literal, NULL when the path is malformed */
const char *usage_dimension_literal(apr_pool_t *pool, const mpx_json_t *group_by, const char *name);

#endif
