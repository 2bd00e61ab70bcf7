/* meterplex_limit.h: what other rooms may ask of limit (mod_meterplex_limit.so). Optional functions: retrieve them in
 * check_config; NULL means that the module is not loaded.
 */
#ifndef METERPLEX_LIMIT_H
#define METERPLEX_LIMIT_H

#include "apr_optional.h"

#include "meterplex.h"

/* Charge a key's own rate limit (the one in its row) outside a request of its own: POST /v1/keys/verify.
 * @param cost units; 0 only looks @param out the decision
 * @return 1, or 0 when the key has no limit of its own. Thread-safe; memory only. */
APR_DECLARE_OPTIONAL_FN(int, mpx_limit_key,
                        (request_rec *r, const mpx_principal_t *principal, apr_uint64_t cost, mpx_gcra_t *out));

#endif
