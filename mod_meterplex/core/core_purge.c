/* core_purge.c: the registry of what is deleted when a tenant is purged. Rooms own their tables: each says how the
 * tenant's rows leave its own; who purges (identity) knows none of them.
 */
#include "core_private.h"

#include "core_sql.h"

#define STATEMENTS_MAX 32

static const char *statements[STATEMENTS_MAX];
static int nstatements;

/* Core's own are the first. Entries of the audit trail are no room's to delete: they are the proof of what was done. */
void core_purge_reset(void)
{
    nstatements = 0;
    mpx_purge_register(SQL_idempotency_purge);
    mpx_purge_register(SQL_outbox_purge);
}

void mpx_purge_register(const char *sql)
{
    ap_assert(nstatements < STATEMENTS_MAX);
    statements[nstatements++] = sql;
}

apr_status_t mpx_purge_some(mpx_tx_t *tx, apr_int64_t most, apr_int64_t *deleted)
{
    mpx_rows_t *rows;
    apr_status_t rv = mpx_tx_query(tx, SQL_purge_by_index, NULL, 0, &rows);
    int i;

    *deleted = 0;
    for (i = 0; i < nstatements && rv == APR_SUCCESS && *deleted < most; i++) {
        mpx_param_t param = mpx_param_int(mpx_tx_call(tx)->pool, most - *deleted);

        rv = mpx_tx_query(tx, statements[i], &param, 1, &rows);
        if (rv == APR_SUCCESS) {
            *deleted += mpx_rows_affected(rows);
        }
    }
    return rv;
}
