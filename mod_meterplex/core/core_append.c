/* core_append.c: rows of the outbox and of the audit trail, in the transaction of what they tell of. */
#include "../include/meterplex_call.h"

#include "core_sql.h"

#include <apr_strings.h>

apr_status_t mpx_event_append(mpx_tx_t *tx, const char *type, const char *subject, const char *payload)
{
    mpx_call_t *call = mpx_tx_call(tx);
    mpx_uuid_t id = mpx_call_new_id(call);
    mpx_param_t params[5];

    params[0] = mpx_param_uuid(&id);
    params[1] = mpx_param_text(type);
    params[2] = mpx_param_text(subject);
    params[3] = mpx_param_text(payload);
    params[4] = mpx_param_text(call->request_id);
    return mpx_tx_query(tx, SQL_event_append, params, 5, NULL);
}

apr_status_t mpx_audit_append(mpx_tx_t *tx, const char *action, const char *target, const char *details)
{
    mpx_call_t *call = mpx_tx_call(tx);
    mpx_uuid_t id = mpx_call_new_id(call);
    mpx_param_t params[8];

    params[0] = mpx_param_uuid(&id);
    params[1] = mpx_param_text(call->principal ? mpx_principal_text(call->pool, call->principal) : "anonymous");
    params[2] = mpx_param_bool(call->acting_as_platform);
    params[3] = mpx_param_text(action);
    params[4] = mpx_param_text(target);
    params[5] = mpx_param_text(call->client);
    params[6] = mpx_param_text(call->request_id);
    params[7] = mpx_param_text(details);
    return mpx_tx_query(tx, SQL_audit_append, params, 8, NULL);
}
