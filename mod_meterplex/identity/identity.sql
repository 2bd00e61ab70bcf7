-- Named statements of identity. Each block becomes a constant SQL_<name> (support/sql2h.awk).

-- name: tenant_insert
INSERT INTO identity.tenants (id, name, slug, metadata, platform)
VALUES ($1, $2, $3, coalesce($4::jsonb, '{}'), $5);

-- name: tenant_get
SELECT id, name, slug, status, platform, metadata::text, version, core.epoch_us(created_at), core.epoch_us(updated_at)
FROM identity.tenants WHERE id = $1 AND deleted_at IS NULL;

-- name: tenant_get_for_update
SELECT id, name, slug, status, platform, metadata::text, version, core.epoch_us(created_at), core.epoch_us(updated_at)
FROM identity.tenants WHERE id = $1 AND deleted_at IS NULL FOR UPDATE;

-- name: tenant_by_slug
SELECT id, name, slug, status, platform, metadata::text, version, core.epoch_us(created_at), core.epoch_us(updated_at)
FROM identity.tenants WHERE slug = $1 AND deleted_at IS NULL;

-- name: tenant_list
-- Newest first: ids are ordered by time.
SELECT id, name, slug, status, platform, metadata::text, version, core.epoch_us(created_at), core.epoch_us(updated_at)
FROM identity.tenants
WHERE deleted_at IS NULL AND ($1::uuid IS NULL OR id < $1::uuid)
ORDER BY id DESC LIMIT $2;

-- name: tenant_update
UPDATE identity.tenants SET
    name = coalesce($2, name), slug = coalesce($3, slug), metadata = coalesce($4::jsonb, metadata),
    status = coalesce($5, status), version = version + 1, updated_at = now()
WHERE id = $1;

-- name: tenant_delete
UPDATE identity.tenants SET deleted_at = now(), version = version + 1, updated_at = now() WHERE id = $1;

-- name: slug_holder
-- The deleted tenant that has a slug, for the platform's sight: when it is purged.
SELECT core.epoch_us(identity.purge_at(deleted_at)) FROM identity.tenants WHERE slug = $1 AND deleted_at IS NOT NULL;

-- name: tenants_due
SELECT id FROM identity.tenants
WHERE deleted_at IS NOT NULL AND identity.purge_at(deleted_at) <= now()
ORDER BY deleted_at LIMIT $1;

-- name: tenant_due_lock
SELECT slug, core.epoch_us(deleted_at) FROM identity.tenants
WHERE id = $1 AND identity.purge_at(deleted_at) <= now() FOR UPDATE SKIP LOCKED;

-- name: tenant_leftover
SELECT core.tenant_leftover();

-- name: tenant_purge
DELETE FROM identity.tenants WHERE id = $1;

-- name: secrets_purge
DELETE FROM identity.api_key_secrets WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM identity.api_key_secrets WHERE tenant_id = core.tenant_id() LIMIT $1))
    AND tenant_id = core.tenant_id();

-- name: keys_purge
DELETE FROM identity.api_keys WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM identity.api_keys WHERE tenant_id = core.tenant_id() LIMIT $1))
    AND tenant_id = core.tenant_id();

-- name: platform_tenant
SELECT id FROM identity.tenants WHERE platform;

-- name: key_insert
INSERT INTO identity.api_keys (tenant_id, id, name, env, scopes, hint, rate_count, rate_period, rate_burst, allowed_cidrs,
                               metadata, created_by, expires_at)
VALUES (core.tenant_id(), $1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10::jsonb, '{}'), $11, $12);

-- name: secret_insert
INSERT INTO identity.api_key_secrets (tenant_id, key_id, digest) VALUES (core.tenant_id(), $1, $2);

-- name: key_get
SELECT id, name, env, array_to_string(scopes, ' '), hint, rate_count, rate_period, rate_burst,
       array_to_string(allowed_cidrs, ' '), metadata::text, created_by, core.epoch_us(expires_at), core.epoch_us(last_used_at),
       version, core.epoch_us(created_at), core.epoch_us(updated_at)
FROM identity.api_keys WHERE tenant_id = core.tenant_id() AND id = $1 AND revoked_at IS NULL;

-- name: key_get_for_update
SELECT id, name, env, array_to_string(scopes, ' '), hint, rate_count, rate_period, rate_burst,
       array_to_string(allowed_cidrs, ' '), metadata::text, created_by, core.epoch_us(expires_at), core.epoch_us(last_used_at),
       version, core.epoch_us(created_at), core.epoch_us(updated_at)
FROM identity.api_keys WHERE tenant_id = core.tenant_id() AND id = $1 AND revoked_at IS NULL FOR UPDATE;

-- name: key_list
SELECT id, name, env, array_to_string(scopes, ' '), hint, rate_count, rate_period, rate_burst,
       array_to_string(allowed_cidrs, ' '), metadata::text, created_by, core.epoch_us(expires_at), core.epoch_us(last_used_at),
       version, core.epoch_us(created_at), core.epoch_us(updated_at)
FROM identity.api_keys
WHERE tenant_id = core.tenant_id() AND revoked_at IS NULL AND ($1::uuid IS NULL OR id < $1::uuid)
ORDER BY id DESC LIMIT $2;

-- name: key_update
-- What a flag does not name stays as it is; a named one may become NULL.
UPDATE identity.api_keys SET
    name = coalesce($2, name),
    scopes = coalesce($3, scopes),
    expires_at = CASE WHEN $4 THEN $5 ELSE expires_at END,
    rate_count = CASE WHEN $6 THEN $7 ELSE rate_count END,
    rate_period = CASE WHEN $6 THEN $8 ELSE rate_period END,
    rate_burst = CASE WHEN $6 THEN $9 ELSE rate_burst END,
    allowed_cidrs = coalesce($10, allowed_cidrs),
    metadata = coalesce($11::jsonb, metadata),
    version = version + 1, updated_at = now()
WHERE tenant_id = core.tenant_id() AND id = $1;

-- name: key_rotate
UPDATE identity.api_keys SET hint = $2, version = version + 1, updated_at = now()
WHERE tenant_id = core.tenant_id() AND id = $1;

-- name: secrets_expire
-- An earlier grace is not lengthened.
UPDATE identity.api_key_secrets
SET expires_at = least(coalesce(expires_at, 'infinity'), now() + $2::bigint * interval '1 second')
WHERE tenant_id = core.tenant_id() AND key_id = $1;

-- name: key_revoke
UPDATE identity.api_keys SET revoked_at = now(), version = version + 1, updated_at = now()
WHERE tenant_id = core.tenant_id() AND id = $1;

-- name: notify
SELECT pg_notify('meterplex_principals', $1);

-- name: secret_find
SELECT tenant_id, key_id, core.epoch_us(expires_at) FROM identity.api_key_secrets WHERE digest = $1;

-- name: principal_find
SELECT array_to_string(k.scopes, ' '), k.env, k.rate_count, k.rate_period, k.rate_burst, array_to_string(k.allowed_cidrs, ' '),
       core.epoch_us(k.expires_at), k.revoked_at IS NOT NULL, t.slug, t.status = 'suspended', t.platform
FROM identity.api_keys k JOIN identity.tenants t ON t.id = k.tenant_id
WHERE k.tenant_id = core.tenant_id() AND k.id = $1 AND t.deleted_at IS NULL;

-- name: principals_refresh
-- The columns of principal_find, then what secret_find says, for those of a list of digests that are good; n: their places.
-- Compared as they are: with row level security only a leakproof comparison may use the index.
SELECT array_to_string(k.scopes, ' '), k.env, k.rate_count, k.rate_period, k.rate_burst, array_to_string(k.allowed_cidrs, ' '),
       core.epoch_us(k.expires_at), k.revoked_at IS NOT NULL, t.slug, t.status = 'suspended', t.platform,
       k.id, core.epoch_us(s.expires_at), d.n
FROM unnest($1::bytea[]) WITH ORDINALITY AS d(digest, n)
JOIN identity.api_key_secrets s ON s.tenant_id = core.tenant_id() AND s.digest = d.digest
JOIN identity.api_keys k ON k.tenant_id = s.tenant_id AND k.id = s.key_id
JOIN identity.tenants t ON t.id = k.tenant_id
WHERE t.deleted_at IS NULL;

-- name: keys_used
-- Locked in the order of their ids first: two nodes then wait for one another instead of deadlocking.
WITH locked AS MATERIALIZED (
    SELECT k.id, u.at FROM identity.api_keys k JOIN unnest($1::uuid[], $2::timestamptz[]) AS u(id, at) ON k.id = u.id
    WHERE k.tenant_id = core.tenant_id() AND (k.last_used_at IS NULL OR k.last_used_at < u.at)
    ORDER BY k.id FOR UPDATE OF k
)
UPDATE identity.api_keys k SET last_used_at = l.at FROM locked l WHERE k.tenant_id = core.tenant_id() AND k.id = l.id;
