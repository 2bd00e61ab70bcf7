/* core_rootkey.c: is a root key one of the installation's? Asked of the database by fingerprint, without httpd. */
#include "../include/meterplex_call.h"

#include "core_sql.h"

static mpx_param_t fingerprint_of(const mpx_call_t *call)
{
    mpx_param_array_t *array = mpx_param_array_make(call->pool, MPX_ARRAY_BYTEA, 0);
    unsigned char fingerprint[MPX_FINGERPRINT_SIZE];

    mpx_rootkey_fingerprint(call->rootkey, fingerprint);
    mpx_param_array_bytes(array, fingerprint, sizeof fingerprint);
    return mpx_param_array(array);
}

static apr_status_t standing_in(mpx_tx_t *tx, void *baton)
{
    mpx_rootkey_standing_e *standing = baton;
    mpx_param_t param = fingerprint_of(mpx_tx_call(tx));
    mpx_rows_t *rows;
    apr_status_t rv = mpx_tx_query(tx, SQL_root_key_standing, &param, 1, &rows);

    if (rv == APR_SUCCESS) {
        *standing = (mpx_rootkey_standing_e)mpx_rows_int(rows, 0, 0);
    }
    return rv;
}

apr_status_t mpx_rootkey_standing(mpx_call_t *call, mpx_rootkey_standing_e *standing)
{
    return mpx_tx_run(call, MPX_TX_READ, standing_in, standing);
}

apr_status_t mpx_rootkey_record(mpx_tx_t *tx, int anyway)
{
    mpx_param_t params[] = { fingerprint_of(mpx_tx_call(tx)), mpx_param_bool(anyway) };
    mpx_rows_t *rows;
    apr_status_t rv = mpx_tx_query(tx, SQL_root_keys_record, params, 2, &rows);

    if (rv == APR_SUCCESS && mpx_rows_int(rows, 0, 0) == MPX_ROOTKEY_STRANGE && !anyway) {
        return mpx_fail(mpx_tx_call(tx), MPX_P_INTERNAL, "The root key is none of this installation's.");
    }
    return rv;
}
