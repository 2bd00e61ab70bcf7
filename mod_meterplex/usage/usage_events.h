/* usage_events.h: the raw events, listed. Without httpd. */
#ifndef USAGE_EVENTS_H
#define USAGE_EVENTS_H

#include "../include/meterplex_call.h"

typedef struct usage_event {
    mpx_uuid_t event_id;
    const char *id, *source, *type, *subject; /* subject: or NULL */
    apr_time_t time;
    apr_int64_t occurrences;
    const char *data;                         /* JSON text, or NULL */
} usage_event_t;

typedef struct usage_event_filter {
    apr_time_t from, to;
    int has_from, has_to;
    const char *type, *subject, *source, *id; /* or NULL */
} usage_event_filter_t;

/* Newest first. @param events array of usage_event_t, page->limit + 1 at most */
apr_status_t usage_event_list(mpx_call_t *call, const usage_event_filter_t *filter, const mpx_page_t *page,
                              apr_array_header_t **events);
/* The sort key of an event, as a cursor's payload. */
const char *usage_event_key(apr_pool_t *pool, const usage_event_t *event);

#endif
