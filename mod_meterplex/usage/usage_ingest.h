/* usage_ingest.h: events into the database, each once. Without httpd: the API, the flush of counters and meterplexctl import
 * call the same.
 */
#ifndef USAGE_INGEST_H
#define USAGE_INGEST_H

#include "../include/meterplex_call.h"
#include "../lib/mpx_event.h"

typedef struct usage_ingest_options {
    const apr_int64_t *repeats; /* for each event: how many identical ones it stands for; NULL: 1 each */
} usage_ingest_options_t;

typedef struct usage_ingest_result {
    apr_int64_t accepted, duplicates; /* together: n */
} usage_ingest_result_t;

/* Commit n events of call->tenant, in a transaction of its own. A duplicate has the tenant, source and id of one that
 * arrived within the last 35 days, or of an earlier one among these. Safe against concurrent calls with the same
 * events: each is accepted by exactly one.
 * @param events  as mpx_events_read() leaves them; not changed
 * @param options may be NULL @return APR_SUCCESS after the commit, or MPX_FAILED with call->problem set */
apr_status_t usage_ingest(mpx_call_t *call, const mpx_event_t *events, int n, const usage_ingest_options_t *options,
                          usage_ingest_result_t *result);

/* The same inside a transaction that the caller has open with its tenant set. */
apr_status_t usage_ingest_in(mpx_tx_t *tx, const mpx_event_t *events, int n, const usage_ingest_options_t *options,
                             usage_ingest_result_t *result);

#endif
