/* usage_event_queries.c: see usage_events.h. */
#include "usage_events.h"

#include "usage_sql.h"

#include <string.h>

#include <apr_strings.h>

typedef struct list_use {
    const usage_event_filter_t *filter;
    const mpx_page_t *page;
    apr_array_header_t **events;
} list_use_t;

const char *usage_event_key(apr_pool_t *pool, const usage_event_t *event)
{
    char id[MPX_UUID_TEXT];
    return apr_psprintf(pool, "%" APR_INT64_T_FMT " %s", event->time, mpx_uuid_format(&event->event_id, id));
}

static const char *text_or_null(apr_pool_t *pool, const mpx_rows_t *rows, int row, int column)
{
    const char *text = mpx_rows_text(rows, row, column);
    return text ? apr_pstrdup(pool, text) : NULL;
}

static void read_event(apr_pool_t *pool, const mpx_rows_t *rows, int row, usage_event_t *e)
{
    mpx_rows_uuid(rows, row, 0, &e->event_id);
    e->id = text_or_null(pool, rows, row, 1);
    e->source = text_or_null(pool, rows, row, 2);
    e->type = text_or_null(pool, rows, row, 3);
    e->subject = text_or_null(pool, rows, row, 4);
    mpx_rows_time(rows, row, 5, &e->time);
    e->occurrences = mpx_rows_int(rows, row, 6);
    e->data = text_or_null(pool, rows, row, 7);
}

static mpx_param_t time_or_null(apr_pool_t *pool, int has, apr_time_t t)
{
    return has ? mpx_param_time(pool, t) : mpx_param_text(NULL);
}

static apr_status_t list_in(mpx_tx_t *tx, void *baton)
{
    list_use_t *use = baton;
    const usage_event_filter_t *f = use->filter;
    apr_pool_t *pool = mpx_tx_call(tx)->pool;
    const char *after = use->page->after, *space = after ? strchr(after, ' ') : NULL;
    mpx_param_t params[10];
    mpx_uuid_t id;
    mpx_rows_t *rows;
    apr_status_t rv;
    int i, has_after = space && mpx_uuid_parse(space + 1, &id);

    params[0] = time_or_null(pool, f->has_from, f->from);
    params[1] = time_or_null(pool, f->has_to, f->to);
    params[2] = mpx_param_text(f->type);
    params[3] = mpx_param_text(f->subject);
    params[4] = mpx_param_text(f->source);
    params[5] = mpx_param_text(f->id);
    params[6] = time_or_null(pool, has_after, has_after ? apr_atoi64(after) : 0);
    params[7] = mpx_param_uuid(has_after ? &id : NULL);
    params[8] = mpx_param_int(pool, use->page->limit + 1);
    params[9] = mpx_param_int(pool, MPX_PAGE_MAX);
    rv = mpx_tx_query(tx, SQL_event_list, params, 10, &rows);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *use->events = apr_array_make(pool, mpx_rows_count(rows), sizeof(usage_event_t));
    for (i = 0; i < mpx_rows_count(rows); i++) {
        read_event(pool, rows, i, apr_array_push(*use->events));
    }
    return APR_SUCCESS;
}

apr_status_t usage_event_list(mpx_call_t *call, const usage_event_filter_t *filter, const mpx_page_t *page,
                              apr_array_header_t **events)
{
    list_use_t use = { filter, page, events };
    return mpx_tx_run(call, MPX_TX_READ, list_in, &use);
}
