/* core_tx.h: transactions, for core's own files; other rooms use meterplex_call.h. */
#ifndef CORE_TX_H
#define CORE_TX_H

#include "core_db.h"

/* mpx_tx_run(WRITE) with call->outer set while body runs: the mpx_tx_run of the commands inside become savepoints of this
 * one transaction (Idempotency-Key). */
apr_status_t core_tx_outer_run(mpx_call_t *call, mpx_tx_body_fn *body, void *baton) MPX_MUST_CHECK;

#endif
