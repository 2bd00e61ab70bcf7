-- Named statements of core. Each block becomes a constant SQL_<name> (support/sql2h.awk).

-- name: backend_pid
SELECT pg_backend_pid();

-- A core_db_access_e, and an mpx_rootkey_standing_e. $1: the last migration that is needed. $2: the fingerprints of the root
-- keys in use.
-- name: access
SELECT CASE WHEN (SELECT coalesce(max(version), 0) FROM meterplex.migrations) < $1 THEN 0
            WHEN NOT (has_table_privilege('core.idempotency_keys', 'SELECT')
                       AND has_table_privilege('core.idempotency_keys', 'INSERT')) THEN 0
            WHEN current_setting('transaction_read_only') = 'on' THEN 1
            ELSE 2
       END,
       core.root_key_standing($2);

-- name: root_key_standing
SELECT core.root_key_standing($1);

-- name: root_keys_record
-- Their standing before. $2: record them though they are strange.
WITH standing AS MATERIALIZED (
    SELECT core.root_key_standing($1) AS before
), added AS (
    INSERT INTO core.root_keys (fingerprint)
    SELECT unnest($1) FROM standing WHERE before = 1 OR $2
    ON CONFLICT DO NOTHING
)
SELECT before FROM standing;

-- name: event_append
INSERT INTO events.outbox (tenant_id, id, type, subject, payload, request_id)
VALUES (core.tenant_id(), $1, $2, $3, $4::jsonb, $5);

-- name: audit_append
INSERT INTO audit.entries (tenant_id, id, actor, as_platform, action, target, client, request_id, details)
VALUES (core.tenant_id(), $1, $2, $3, $4, $5, $6, $7, $8::jsonb);

-- name: job_lease_take
-- The lease of a cluster job: taken when free, expired or ours. One row back means that it is ours.
INSERT INTO core.job_leases AS l (job, node_id, expires_at)
VALUES ($1, $2, now() + $3::bigint * interval '1 microsecond')
ON CONFLICT (job) DO UPDATE SET node_id = excluded.node_id, expires_at = excluded.expires_at
    WHERE l.node_id = excluded.node_id OR l.expires_at < now()
RETURNING true;

-- name: idempotency_lock
-- Held to the end of the transaction: a second request with the key finds it taken, a dead one's is free at once.
SELECT pg_try_advisory_xact_lock($1);

-- name: idempotency_forget
DELETE FROM core.idempotency_keys
WHERE tenant_id = core.tenant_id() AND principal_id = $1 AND key = $2 AND created_at <= now() - interval '24 hours';

-- name: idempotency_find
SELECT fingerprint, status, answer FROM core.idempotency_keys
WHERE tenant_id = core.tenant_id() AND principal_id = $1 AND key = $2;

-- name: idempotency_keep
INSERT INTO core.idempotency_keys (tenant_id, principal_id, key, fingerprint, status, answer)
VALUES (core.tenant_id(), $1, $2, $3, $4, $5);

-- name: idempotency_expire
DELETE FROM core.idempotency_keys WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM core.idempotency_keys WHERE created_at <= now() - interval '24 hours' LIMIT $1))
    AND created_at <= now() - interval '24 hours';

-- name: idempotency_purge
DELETE FROM core.idempotency_keys WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM core.idempotency_keys WHERE tenant_id = core.tenant_id() LIMIT $1))
    AND tenant_id = core.tenant_id();

-- name: outbox_purge
DELETE FROM events.outbox WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM events.outbox WHERE tenant_id = core.tenant_id() LIMIT $1))
    AND tenant_id = core.tenant_id();

-- name: purge_by_index
-- For the rest of the transaction: a tenant's rows are taken in the order of an index. Where the planner knows little of a table it
-- would collect all of them, and sort them, for each batch anew; and a bitmap goes again over what earlier batches deleted.
-- What is so forbidden counts as dear, at which the compiler of expressions would set to work.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
       set_config('enable_sort', 'off', true), set_config('jit', 'off', true);

-- name: sweep_by_index
-- For the rest of the transaction: what is too old is found by its index. The planner, who sees a LIMIT and many old rows, would
-- read the table from its beginning, past all the young ones that may lie there, for each batch anew.
SELECT set_config('enable_seqscan', 'off', true);
