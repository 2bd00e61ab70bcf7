/* usage_meters.h: use cases of meters and of the queries on them. Without httpd. All return APR_SUCCESS, or MPX_FAILED with
 * call->problem set; results live in call->pool.
 */
#ifndef USAGE_METERS_H
#define USAGE_METERS_H

#include "usage_domain.h"

typedef struct usage_meter {
    mpx_uuid_t tenant, id;
    const char *key, *name, *event_type, *aggregation;
    const char *value_property;          /* or NULL */
    const char *group_by, *filters;      /* JSON object texts */
    const char *unit;                    /* or NULL */
    const char *scope;                   /* "tenant" or "all" */
    int archived;
    apr_int64_t version;
    apr_time_t created_at, updated_at;
} usage_meter_t;

/* Make a meter. A platform meter (scope "all") only by platform administrators, in their own tenant; neither shadows the
 * other: 409. @param meter what to make; id, tenant, version and times are set */
apr_status_t usage_meter_create(mpx_call_t *call, usage_meter_t *meter);
apr_status_t usage_meter_get(mpx_call_t *call, const char *key, usage_meter_t *meter);
apr_status_t usage_meter_list(mpx_call_t *call, const mpx_page_t *page, apr_array_header_t **meters); /* usage_meter_t */

typedef struct usage_meter_change {
    const char *name;     /* or NULL */
    int set_unit;
    const char *unit;     /* with set_unit; NULL: none */
    int archived;         /* -1: as it is */
} usage_meter_change_t;
apr_status_t usage_meter_update(mpx_call_t *call, const char *key, const char *if_match, const usage_meter_change_t *change,
                                usage_meter_t *meter);
apr_status_t usage_meter_delete(mpx_call_t *call, const char *key, const char *if_match);
/* The meter's own filters, as paths and lists of what passes (array literals, as usage.sql takes them).
 * @param group_by  parsed
 * @param paths, allowed  arrays of const char *, added to */
void usage_meter_filters(mpx_call_t *call, const usage_meter_t *meter, const mpx_json_t *group_by, apr_array_header_t *paths,
                         apr_array_header_t *allowed);
/* Events of the last 35 days that the meter's type and filters take and that have no usable value. */
apr_status_t usage_meter_invalid(mpx_call_t *call, const usage_meter_t *meter, apr_int64_t *invalid);

/* --- Queries -------------------------------------------------------------------------------------------------------------------- */

typedef struct usage_query {
    apr_time_t from, to;                 /* half-open */
    int has_from, has_to;
    usage_window_e window;
    const char *timezone;                /* IANA name */
    const char *subject;                 /* or NULL: all */
    int by_subject;
    apr_array_header_t *group_by;        /* const char * names of the meter's dimensions */
    apr_array_header_t *filter_names, *filter_values; /* const char *; array literals of what passes */
    int fill_zero;
} usage_query_t;

typedef struct usage_value {
    apr_time_t start, end;
    const char *value;                   /* decimal text, or NULL where there is none */
    const char *subject;                 /* or NULL */
    const char **group;                  /* one for each of group_by, NULL where the event has none */
} usage_value_t;

/* @param query from and to are filled in where they were not given @param values array of usage_value_t */
apr_status_t usage_meter_query(mpx_call_t *call, const usage_meter_t *meter, usage_query_t *query,
                               apr_array_header_t **values);
/* The problem for an answer past USAGE_ANSWER_MAX. @return MPX_FAILED */
apr_status_t usage_answer_too_large(mpx_call_t *call);

#endif
