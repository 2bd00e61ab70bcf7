/* identity_store.h: the room's statements, one function each. Within a transaction. */
#ifndef IDENTITY_STORE_H
#define IDENTITY_STORE_H

#include "identity_commands.h"

apr_status_t identity_store_tenant_insert(mpx_tx_t *tx, const mpx_uuid_t *id, const char *name, const char *slug,
                                          const char *metadata, int platform) MPX_MUST_CHECK;
/* @param lock FOR UPDATE. 404 when there is none. */
apr_status_t identity_store_tenant_get(mpx_tx_t *tx, const mpx_uuid_t *id, int lock, identity_tenant_t *out) MPX_MUST_CHECK;
apr_status_t identity_store_tenant_by_slug(mpx_tx_t *tx, const char *slug, identity_tenant_t *out) MPX_MUST_CHECK;
apr_status_t identity_store_tenant_list(mpx_tx_t *tx, const mpx_page_t *page, apr_array_header_t **out) MPX_MUST_CHECK;
apr_status_t identity_store_tenant_update(mpx_tx_t *tx, const mpx_uuid_t *id, const char *name, const char *slug,
                                          const char *metadata, const char *status) MPX_MUST_CHECK;
/* When the deleted tenant that holds a slug is purged; 0 when there is none. With the platform's sight. */
apr_status_t identity_store_slug_holder(mpx_tx_t *tx, const char *slug, apr_time_t *until) MPX_MUST_CHECK;
apr_status_t identity_store_tenant_delete(mpx_tx_t *tx, const mpx_uuid_t *id) MPX_MUST_CHECK;
apr_status_t identity_store_platform_exists(mpx_tx_t *tx, int *exists) MPX_MUST_CHECK;

apr_status_t identity_store_key_insert(mpx_tx_t *tx, const mpx_uuid_t *id, const identity_key_spec_t *spec,
                                       const char *hint) MPX_MUST_CHECK;
apr_status_t identity_store_secret_insert(mpx_tx_t *tx, const mpx_uuid_t *key, const unsigned char digest[32])
    MPX_MUST_CHECK;
apr_status_t identity_store_key_get(mpx_tx_t *tx, const mpx_uuid_t *id, int lock, identity_key_t *out) MPX_MUST_CHECK;
apr_status_t identity_store_key_list(mpx_tx_t *tx, const mpx_page_t *page, apr_array_header_t **out) MPX_MUST_CHECK;
apr_status_t identity_store_key_update(mpx_tx_t *tx, const mpx_uuid_t *id, const identity_key_spec_t *changes,
                                       unsigned set) MPX_MUST_CHECK;
apr_status_t identity_store_key_rotate(mpx_tx_t *tx, const mpx_uuid_t *id, const char *hint, apr_int64_t grace)
    MPX_MUST_CHECK;
apr_status_t identity_store_key_revoke(mpx_tx_t *tx, const mpx_uuid_t *id) MPX_MUST_CHECK;
/* Last uses: times for as many ids. */
apr_status_t identity_store_keys_used(mpx_tx_t *tx, const mpx_uuid_t *ids, const apr_time_t *times, int n) MPX_MUST_CHECK;
/* Tell every node: "k:<uuid>" for a key, "t:<uuid>" for a tenant. Delivered when the transaction commits. */
apr_status_t identity_store_notify(mpx_tx_t *tx, char kind, const mpx_uuid_t *id) MPX_MUST_CHECK;

#endif
