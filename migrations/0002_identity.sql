-- Tenants and their API keys.

CREATE SCHEMA identity;
GRANT USAGE ON SCHEMA identity TO meterplex_app;

CREATE TABLE identity.tenants (
    id         uuid        PRIMARY KEY,
    name       text        NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    slug       text        NOT NULL CHECK (slug ~ '^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$'),
    status     text        NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    platform   boolean     NOT NULL DEFAULT false,
    metadata   jsonb       NOT NULL DEFAULT '{}',
    version    bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
-- A deleted tenant keeps its slug until it is purged: its links and invoices must not come to mean another.
CREATE UNIQUE INDEX tenants_slug ON identity.tenants (slug);
CREATE UNIQUE INDEX tenants_one_platform ON identity.tenants (platform) WHERE platform;
ALTER TABLE identity.tenants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON identity.tenants USING (id = core.tenant_id());
CREATE POLICY platform ON identity.tenants USING (core.is_platform());
GRANT SELECT, INSERT, UPDATE ON identity.tenants TO meterplex_app;

CREATE TABLE identity.api_keys (
    tenant_id     uuid        NOT NULL REFERENCES identity.tenants,
    id            uuid        NOT NULL,
    name          text        NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    env           text        NOT NULL CHECK (env IN ('live', 'test')),
    scopes        text[]      NOT NULL,
    hint          text        NOT NULL CHECK (length(hint) = 4),
    rate_count    bigint      CHECK (rate_count BETWEEN 1 AND 1000000000),
    rate_period   integer     CHECK (rate_period IN (1, 60, 3600, 86400)),
    rate_burst    bigint      CHECK (rate_burst BETWEEN 1 AND 1000000000),
    allowed_cidrs text[]      NOT NULL DEFAULT '{}',
    metadata      jsonb       NOT NULL DEFAULT '{}',
    created_by    text        NOT NULL,
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz,
    version       bigint      NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CHECK (num_nulls(rate_count, rate_period, rate_burst) IN (0, 3))
);
ALTER TABLE identity.api_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON identity.api_keys USING (tenant_id = core.tenant_id());
GRANT SELECT, INSERT, UPDATE ON identity.api_keys TO meterplex_app;

-- Digests (keyed BLAKE2b-256) of the key texts that are good: one, or two while a rotation's grace runs.
CREATE TABLE identity.api_key_secrets (
    tenant_id  uuid        NOT NULL,
    key_id     uuid        NOT NULL,
    digest     bytea       NOT NULL CHECK (length(digest) = 32),
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, digest),
    FOREIGN KEY (tenant_id, key_id) REFERENCES identity.api_keys
);
CREATE INDEX api_key_secrets_digest ON identity.api_key_secrets (digest);
CREATE INDEX api_key_secrets_key ON identity.api_key_secrets (tenant_id, key_id);
ALTER TABLE identity.api_key_secrets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON identity.api_key_secrets USING (tenant_id = core.tenant_id());
-- Who holds a key's digest may see which tenant and key it stands for, and no other row: authentication comes before
-- there is a tenant.
CREATE POLICY holder ON identity.api_key_secrets FOR SELECT
    USING (digest = decode(nullif(current_setting('meterplex.digest', true), ''), 'hex'));
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.api_key_secrets TO meterplex_app;
