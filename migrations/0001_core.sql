-- Ground of every room: helper functions, idempotency, job leases, the outbox and the audit trail.
--
-- Run by `meterplexctl migrate` in one transaction as role meterplex_owner, which owns everything here and is neither
-- superuser nor BYPASSRLS, so that FORCE ROW LEVEL SECURITY binds it too. httpd connects as a member of meterplex_app,
-- which owns nothing and is granted statement by statement below.
--
-- Rules that a catalogue test holds: every table with tenant_id has FORCE ROW LEVEL SECURITY and the tenant in each unique
-- key; no SECURITY DEFINER function; views are security_invoker; TRUNCATE, REFERENCES and TRIGGER are granted to nobody.

CREATE SCHEMA core;
CREATE SCHEMA events;
CREATE SCHEMA audit;
GRANT USAGE ON SCHEMA core, events, audit TO meterplex_app;

-- The tenant of this transaction, NULL when none was set: a forgotten context then shows nothing. The setting is '' rather
-- than unset on a pooled connection that has had it before, hence nullif.
CREATE FUNCTION core.tenant_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('meterplex.tenant_id', true), '')::uuid $$;

-- Has this transaction declared that it acts for the platform? Asked by the few policies that let all tenants be seen.
CREATE FUNCTION core.is_platform() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT coalesce(current_setting('meterplex.platform', true), '') = 'on' $$;

-- Microseconds since 1970-01-01T00:00:00Z: how time-stamps leave the database, exact and free of DateStyle and TimeZone.
CREATE FUNCTION core.epoch_us(timestamptz) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT (extract(epoch FROM $1) * 1000000)::bigint $$;

-- First final answer of a POST with an Idempotency-Key; written in the command's own transaction. The answer is sealed,
-- since it may hold a secret that is shown once.
CREATE TABLE core.idempotency_keys (
    tenant_id    uuid        NOT NULL,
    principal_id uuid        NOT NULL,
    key          text        NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint  bytea       NOT NULL,
    status       smallint    NOT NULL CHECK (status BETWEEN 200 AND 499),
    answer       bytea       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, principal_id, key)
);
CREATE INDEX idempotency_keys_age ON core.idempotency_keys (created_at);
ALTER TABLE core.idempotency_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON core.idempotency_keys USING (tenant_id = core.tenant_id());
CREATE POLICY expiry ON core.idempotency_keys FOR SELECT USING (core.is_platform());
CREATE POLICY expiry_delete ON core.idempotency_keys FOR DELETE USING (core.is_platform());
GRANT SELECT, INSERT, DELETE ON core.idempotency_keys TO meterplex_app;

-- Which node runs a job of cluster scope, and until when.
CREATE TABLE core.job_leases (
    job        text        PRIMARY KEY,
    node_id    uuid        NOT NULL,
    expires_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON core.job_leases TO meterplex_app;

-- Domain events, appended in the transaction of what they tell of.
CREATE TABLE events.outbox (
    tenant_id   uuid        NOT NULL,
    id          uuid        NOT NULL,
    position    bigint      GENERATED ALWAYS AS IDENTITY,
    type        text        NOT NULL,
    subject     text        NOT NULL,
    payload     jsonb       NOT NULL,
    request_id  text,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX outbox_position ON events.outbox (position);
ALTER TABLE events.outbox ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON events.outbox USING (tenant_id = core.tenant_id());
GRANT SELECT, INSERT ON events.outbox TO meterplex_app;

-- Who did what: append-only for the role of httpd.
CREATE TABLE audit.entries (
    tenant_id   uuid        NOT NULL,
    id          uuid        NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    actor       text        NOT NULL,
    as_platform boolean     NOT NULL,
    action      text        NOT NULL,
    target      text        NOT NULL,
    client      text,
    request_id  text,
    details     jsonb,
    PRIMARY KEY (tenant_id, id)
);
ALTER TABLE audit.entries ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit.entries USING (tenant_id = core.tenant_id());
GRANT SELECT, INSERT ON audit.entries TO meterplex_app;
