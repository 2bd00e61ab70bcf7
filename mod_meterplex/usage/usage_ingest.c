/* usage_ingest.c: see usage_ingest.h. One set-wise statement over binary arrays; README.md says what else was tried. */
#include "usage_ingest.h"

#include "usage_sql.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <sodium.h>

/* An event's place in the batch under its key's digest. */
typedef struct keyed {
    mpx_uuid_t digest;
    int index;
} keyed_t;

/* BLAKE2b-128 over source and id, each with its length before it: no two pairs make the same text. */
static void digest_of(const mpx_event_t *event, mpx_uuid_t *out)
{
    unsigned char text[2 * (4 + 256)];
    apr_uint32_t source = (apr_uint32_t)strlen(event->source), id = (apr_uint32_t)strlen(event->id);
    crypto_generichash_state state;

    if (source <= 256 && id <= 256) {
        memcpy(text, &source, 4);
        memcpy(text + 4, event->source, source);
        memcpy(text + 4 + source, &id, 4);
        memcpy(text + 8 + source, event->id, id);
        crypto_generichash(out->b, sizeof out->b, text, 8 + source + id, NULL, 0);
        return;
    }
    crypto_generichash_init(&state, NULL, 0, sizeof out->b);
    crypto_generichash_update(&state, (const unsigned char *)&source, 4);
    crypto_generichash_update(&state, (const unsigned char *)event->source, source);
    crypto_generichash_update(&state, (const unsigned char *)&id, 4);
    crypto_generichash_update(&state, (const unsigned char *)event->id, id);
    crypto_generichash_final(&state, out->b, sizeof out->b);
}

static int by_digest(const void *a, const void *b)
{
    const keyed_t *x = a, *y = b;
    int c = memcmp(&x->digest, &y->digest, sizeof x->digest);
    return c ? c : x->index - y->index;
}

/* Sorted by digest, each once: of equal ones the first of the batch stays. @return how many */
static int sort_unique(const mpx_event_t *events, int n, keyed_t *keyed)
{
    int i, kept = 0;

    for (i = 0; i < n; i++) {
        digest_of(&events[i], &keyed[i].digest);
        keyed[i].index = i;
    }
    qsort(keyed, (apr_size_t)n, sizeof *keyed, by_digest);
    for (i = 0; i < n; i++) {
        if (kept == 0 || !mpx_uuid_equal(&keyed[kept - 1].digest, &keyed[i].digest)) {
            keyed[kept++] = keyed[i];
        }
    }
    return kept;
}

/* The id of the batch's event at index: the batch's UUIDv7 with the index added, so that ids sort as the events came. */
static void event_id(const mpx_uuid_t *batch, int index, mpx_uuid_t *out)
{
    apr_uint32_t low;
    *out = *batch;
    low = ((apr_uint32_t)(out->b[12] & 0x7f) << 24 | (apr_uint32_t)out->b[13] << 16 | (apr_uint32_t)out->b[14] << 8
           | out->b[15])
        + (apr_uint32_t)index;
    out->b[12] = (unsigned char)(low >> 24);
    out->b[13] = (unsigned char)(low >> 16);
    out->b[14] = (unsigned char)(low >> 8);
    out->b[15] = (unsigned char)low;
}

enum { DIGEST,
       ID,
       TIME,
       EXTERNAL_ID,
       SOURCE,
       TYPE,
       SUBJECT,
       OCCURRENCES,
       REPEATS,
       DATA,
       COLUMNS };

static void add_row(mpx_param_array_t *const columns[COLUMNS], const keyed_t *key, const mpx_event_t *e,
                    const mpx_uuid_t *batch, apr_int64_t repeats)
{
    mpx_uuid_t id;
    event_id(batch, key->index, &id);
    mpx_param_array_uuid(columns[DIGEST], &key->digest);
    mpx_param_array_uuid(columns[ID], &id);
    mpx_param_array_time(columns[TIME], e->time);
    mpx_param_array_text(columns[EXTERNAL_ID], e->id, strlen(e->id));
    mpx_param_array_text(columns[SOURCE], e->source, strlen(e->source));
    mpx_param_array_text(columns[TYPE], e->type, strlen(e->type));
    mpx_param_array_text(columns[SUBJECT], e->subject, e->subject ? strlen(e->subject) : 0);
    mpx_param_array_int8(columns[OCCURRENCES], e->occurrences);
    mpx_param_array_int8(columns[REPEATS], repeats);
    mpx_param_array_text(columns[DATA], e->data, e->data_len);
}

apr_status_t usage_ingest_in(mpx_tx_t *tx, const mpx_event_t *events, int n, const usage_ingest_options_t *options,
                             usage_ingest_result_t *result)
{
    static const mpx_array_type_e types[COLUMNS] = { MPX_ARRAY_UUID, MPX_ARRAY_UUID, MPX_ARRAY_TIMESTAMPTZ, MPX_ARRAY_TEXT,
                                                     MPX_ARRAY_TEXT, MPX_ARRAY_TEXT, MPX_ARRAY_TEXT, MPX_ARRAY_INT8,
                                                     MPX_ARRAY_INT8, MPX_ARRAY_TEXT };
    mpx_call_t *call = mpx_tx_call(tx);
    keyed_t *keyed = apr_palloc(call->pool, sizeof *keyed * (apr_size_t)(n + 1));
    mpx_param_array_t *columns[COLUMNS];
    mpx_param_t params[COLUMNS];
    mpx_uuid_t batch = mpx_call_new_id(call);
    mpx_rows_t *rows;
    apr_status_t rv;
    int i, unique = sort_unique(events, n, keyed);

    for (i = 0; i < COLUMNS; i++) {
        columns[i] = mpx_param_array_make(call->pool, types[i], (apr_size_t)unique * (i == DATA ? 160 : 40));
    }
    for (i = 0; i < unique; i++) {
        const int index = keyed[i].index;
        add_row(columns, &keyed[i], &events[index], &batch, options && options->repeats ? options->repeats[index] : 1);
    }
    for (i = 0; i < COLUMNS; i++) {
        params[i] = mpx_param_array(columns[i]);
    }
    rv = mpx_tx_query(tx, SQL_ingest, params, COLUMNS, &rows);
    if (rv == APR_SUCCESS) {
        result->accepted = mpx_rows_affected(rows);
        result->duplicates = n - result->accepted;
    }
    return rv;
}

typedef struct ingest_use {
    const mpx_event_t *events;
    int n;
    const usage_ingest_options_t *options;
    usage_ingest_result_t *result;
} ingest_use_t;

static apr_status_t ingest_body(mpx_tx_t *tx, void *baton)
{
    ingest_use_t *use = baton;
    mpx_call_t *call = mpx_tx_call(tx);
    apr_status_t rv = usage_ingest_in(tx, use->events, use->n, use->options, use->result);
    const char *details;

    if (rv != APR_SUCCESS || !call->acting_as_platform) {
        return rv;
    }
    details = apr_psprintf(call->pool, "{\"accepted\":%" APR_INT64_T_FMT ",\"duplicates\":%" APR_INT64_T_FMT "}",
                           use->result->accepted, use->result->duplicates);
    return mpx_audit_append(tx, "usage_events.ingest", "usage/events", details);
}

apr_status_t usage_ingest(mpx_call_t *call, const mpx_event_t *events, int n, const usage_ingest_options_t *options,
                          usage_ingest_result_t *result)
{
    ingest_use_t use = { events, n, options, result };

    if (n == 0) {
        result->accepted = result->duplicates = 0;
        return APR_SUCCESS;
    }
    return mpx_tx_run(call, MPX_TX_WRITE, ingest_body, &use);
}
