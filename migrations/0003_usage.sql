-- Usage events, what makes each of them count once, and meters.

CREATE SCHEMA usage;
GRANT USAGE ON SCHEMA usage TO meterplex_app;

-- Raw events as they were accepted: never changed. Partitioned by their own time; rows for which no partition has been
-- made lie in the default one.
CREATE TABLE usage.events (
    tenant_id   uuid        NOT NULL,
    time        timestamptz NOT NULL,
    id          uuid        NOT NULL,            -- evt_...: ours, ordered by arrival
    external_id text        NOT NULL,            -- the sender's id
    source      text        NOT NULL,
    type        text        NOT NULL,
    subject     text,
    occurrences bigint      NOT NULL DEFAULT 1,  -- what a count adds; other aggregations take the value as given
    repeats     bigint      NOT NULL DEFAULT 1,  -- so many identical events in one row (counters of MeterplexMeter): every
                                                 -- aggregation sees each of them
    data        jsonb,
    PRIMARY KEY (tenant_id, time, id)
) PARTITION BY RANGE (time);
CREATE INDEX events_type ON usage.events (tenant_id, type, time);
CREATE TABLE usage.events_default PARTITION OF usage.events DEFAULT;
ALTER TABLE usage.events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE usage.events_default ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON usage.events USING (tenant_id = core.tenant_id());
CREATE POLICY tenant ON usage.events_default USING (tenant_id = core.tenant_id());
GRANT SELECT, INSERT ON usage.events TO meterplex_app;

-- One row for each (tenant, source, sender's id) that has arrived: the digest is BLAKE2b-128 over source and id.
CREATE TABLE usage.event_keys (
    tenant_id   uuid        NOT NULL,
    digest      uuid        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, digest)
);
ALTER TABLE usage.event_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON usage.event_keys USING (tenant_id = core.tenant_id());
GRANT SELECT, INSERT, UPDATE, DELETE ON usage.event_keys TO meterplex_app;

CREATE TABLE usage.meters (
    tenant_id      uuid        NOT NULL REFERENCES identity.tenants,
    id             uuid        NOT NULL,
    key            text        NOT NULL,
    name           text        NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    event_type     text        NOT NULL CHECK (length(event_type) BETWEEN 1 AND 128),
    aggregation    text        NOT NULL CHECK (aggregation IN
                                   ('count', 'sum', 'min', 'max', 'avg', 'unique_count', 'latest')),
    value_property text,                                      -- "$.tokens", as given
    group_by       jsonb       NOT NULL DEFAULT '{}',         -- {"model": "$.model"}
    filters        jsonb       NOT NULL DEFAULT '{}',         -- {"region": ["eu", "us"]}
    unit           text,
    scope          text        NOT NULL DEFAULT 'tenant' CHECK (scope IN ('tenant', 'all')),
    archived       boolean     NOT NULL DEFAULT false,
    version        bigint      NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT meters_key UNIQUE (tenant_id, key),
    CHECK ((aggregation = 'count') = (value_property IS NULL))
);
ALTER TABLE usage.meters ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON usage.meters USING (tenant_id = core.tenant_id());
-- A platform meter exists in every tenant.
CREATE POLICY platform_meters ON usage.meters FOR SELECT USING (scope = 'all' OR core.is_platform());
GRANT SELECT, INSERT, UPDATE, DELETE ON usage.meters TO meterplex_app;

-- The number that a meter takes from an event: a JSON number, or a string of plain decimal text within the API's range (38
-- digits before, 18 after the point); anything else is NULL and counts as invalid. Never through a double.
CREATE FUNCTION usage.number_of(value jsonb) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
        SELECT CASE jsonb_typeof(value)
            WHEN 'number' THEN (value #>> '{}')::numeric
            WHEN 'string' THEN CASE WHEN value #>> '{}' ~ '^-?[0-9]{1,38}([.][0-9]{1,18})?$' THEN (value #>> '{}')::numeric END
        END
    $$;

-- What unique_count tells apart: numbers by their value, strings by their text, each kind for itself.
CREATE FUNCTION usage.distinct_of(value jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
        SELECT CASE jsonb_typeof(value)
            WHEN 'number' THEN 'n' || trim_scale((value #>> '{}')::numeric)::text
            WHEN 'string' THEN 's' || (value #>> '{}')
            WHEN 'boolean' THEN 'b' || (value #>> '{}')
        END
    $$;
