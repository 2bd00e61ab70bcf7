-- Statements of meterplexctl itself: migrations, doctor, status. What a room does is asked of the room.

-- name: session_role
SELECT rolsuper OR rolbypassrls,
       to_regclass('meterplex.migrations') IS NOT NULL AND to_regclass('identity.tenants') IS NOT NULL
  FROM pg_catalog.pg_roles WHERE rolname = current_user

-- name: become_app
SET ROLE meterplex_app

-- name: migrations_table
SELECT to_regclass('meterplex.migrations') IS NOT NULL

-- name: migrations_applied
SELECT version, name, checksum, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
  FROM meterplex.migrations ORDER BY version

-- name: migrations_create
BEGIN;
SET LOCAL ROLE meterplex_owner;
CREATE SCHEMA IF NOT EXISTS meterplex;
CREATE TABLE IF NOT EXISTS meterplex.migrations (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
GRANT USAGE ON SCHEMA meterplex TO meterplex_app;
GRANT SELECT ON meterplex.migrations TO meterplex_app;
COMMIT;

-- The lock belongs to the session, so that it spans the transactions of all files; it ends with the connection.
-- name: migrations_lock
SELECT pg_try_advisory_lock(1297110085, 1)

-- A migration in three formats: seconds; its checksum twice, text, checksum twice; number, name and checksum, which hold
-- nothing to be quoted.
-- name: migration_begin
BEGIN;
SET LOCAL ROLE meterplex_owner;
SET LOCAL lock_timeout = '%ds';
SET LOCAL statement_timeout = 0;
SET LOCAL search_path = pg_catalog;

-- EXECUTE refuses what begins or ends a transaction, so that a file cannot commit a part of itself. It is quoted by its own
-- checksum, which no file can hold.
-- name: migration_text
DO $do_%s$BEGIN EXECUTE $file_%s$%s$file_%s$; END$do_%s$;

-- name: migration_end
INSERT INTO meterplex.migrations (version, name, checksum) VALUES (%d, '%s', '%s');
COMMIT;

-- name: migrate_facts
SELECT current_setting('server_version_num')::integer,
       current_setting('server_version'),
       current_user,
       current_database(),
       coalesce((SELECT rolsuper OR rolbypassrls OR rolcanlogin FROM pg_catalog.pg_roles
                  WHERE rolname = 'meterplex_owner'), false),
       EXISTS (SELECT FROM pg_catalog.pg_auth_members m
                 JOIN pg_catalog.pg_roles r ON r.oid = m.member JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
                WHERE g.rolname = 'meterplex_app' AND r.rolcanlogin),
       current_setting('server_encoding')

-- What an administrator must have run before the first migration, as statements; no row when all of it is there.
-- name: migrate_missing
SELECT statement FROM (
    SELECT 1 AS n, 'CREATE ROLE meterplex_owner NOLOGIN' AS statement
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'meterplex_owner')
    UNION ALL
    SELECT 2, 'CREATE ROLE meterplex_app NOLOGIN'
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'meterplex_app')
    UNION ALL
    SELECT 3, format('GRANT meterplex_owner TO %I', current_user)
     WHERE NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
       AND NOT coalesce((SELECT pg_has_role(current_user, oid, 'MEMBER') FROM pg_catalog.pg_roles
                          WHERE rolname = 'meterplex_owner'), false)
    UNION ALL
    SELECT 4, format('GRANT CREATE ON DATABASE %I TO meterplex_owner', current_database())
     WHERE NOT coalesce((SELECT has_database_privilege(oid, current_database(), 'CREATE') FROM pg_catalog.pg_roles
                          WHERE rolname = 'meterplex_owner'), false)
) AS missing ORDER BY n

-- name: migrate_is_httpd
-- Is this the role that httpd logs in as, which owns nothing and stays so?
SELECT NOT r.rolsuper
   AND coalesce((SELECT pg_has_role(r.oid, oid, 'MEMBER') FROM pg_catalog.pg_roles WHERE rolname = 'meterplex_app'), false)
   AND NOT coalesce((SELECT pg_has_role(r.oid, oid, 'MEMBER') FROM pg_catalog.pg_roles WHERE rolname = 'meterplex_owner'), false),
       current_database()
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user;

-- name: doctor_role
SELECT current_user, r.rolsuper, r.rolbypassrls,
       coalesce((SELECT pg_has_role(current_user, oid, 'MEMBER') FROM pg_catalog.pg_roles WHERE rolname = 'meterplex_owner'),
                false),
       coalesce((SELECT pg_has_role(current_user, oid, 'MEMBER') FROM pg_catalog.pg_roles WHERE rolname = 'meterplex_app'),
                false),
       EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relowner = r.oid AND n.nspname IN ('core', 'events', 'audit', 'identity', 'usage', 'meterplex'))
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user

-- name: doctor_rls
SELECT c.oid::regclass::text
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
 WHERE c.relkind IN ('r', 'p')
   AND pg_get_userbyid(c.relowner) = 'meterplex_owner'
   AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
 ORDER BY 1

-- name: doctor_rls_count
SELECT count(*)
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
 WHERE c.relkind IN ('r', 'p') AND pg_get_userbyid(c.relowner) = 'meterplex_owner'

-- name: doctor_clock
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint

-- name: doctor_server
SELECT current_setting('server_version_num')::integer, current_setting('server_version'), current_database(),
       current_setting('server_encoding')

-- name: doctor_timeouts
SELECT inet_server_addr() IS NOT NULL

-- Each second of the log is looked up once, by index (LATERAL ... OFFSET 0), whatever the statistics of a table that is
-- just being filled say; a busy second has many lines, which are then found by hash.
-- name: import_known
WITH line AS MATERIALIZED (
    SELECT * FROM unnest($1::timestamptz[], $2::text[]) WITH ORDINALITY AS u(time, id, n)
), there AS MATERIALIZED (
    SELECT e.external_id, e.time
      FROM (SELECT DISTINCT time FROM line) AS second
     CROSS JOIN LATERAL (SELECT external_id, time FROM usage.events
                          WHERE tenant_id = core.tenant_id() AND type = $3 AND time = second.time AND source = $4
                         OFFSET 0) AS e
)
SELECT line.n FROM line WHERE (line.time, line.id) IN (SELECT time, external_id FROM there) ORDER BY line.n

-- name: status_server
SELECT current_setting('server_version'), current_database(), pg_database_size(current_database()),
       pg_size_pretty(pg_database_size(current_database())), current_user

-- name: status_tenants
SELECT id, slug, status FROM identity.tenants WHERE deleted_at IS NULL ORDER BY slug

-- name: status_of_tenant
SELECT (SELECT count(*) FROM identity.api_keys WHERE tenant_id = core.tenant_id() AND revoked_at IS NULL),
       (SELECT count(*) FROM usage.events WHERE tenant_id = core.tenant_id())
