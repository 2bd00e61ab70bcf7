/* identity_view.h: tenants and keys as JSON: what the API answers and what domain events and audit rows carry. */
#ifndef IDENTITY_VIEW_H
#define IDENTITY_VIEW_H

#include "identity_commands.h"

void identity_tenant_write(mpx_jsonw_t *w, apr_pool_t *pool, const identity_tenant_t *tenant);
/* The secret is shown when key->secret is set. */
void identity_key_write(mpx_jsonw_t *w, apr_pool_t *pool, const identity_key_t *key);
/* A member whose value is a space-separated list as an array of strings. */
void identity_words_write(mpx_jsonw_t *w, const char *name, const char *words);

#endif
