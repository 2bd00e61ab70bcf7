-- Named statements of usage. Each block becomes a constant SQL_<name> (support/sql2h.awk).

-- name: ingest
-- Keys first, in one order for all (concurrent posts of the same events wait for one another instead of deadlocking); only
-- what is fresh becomes an event. A key that arrived more than 35 days ago is fresh again. The caller has left each digest
-- once. Of a tenant that is purged nothing is taken: counts may come from a node that was away for so long.
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[],
                         $8::bigint[], $9::bigint[], $10::text[])
        AS i(digest, id, time, external_id, source, type, subject, occurrences, repeats, data)
    WHERE NOT core.tenant_is_gone()
), fresh AS (
    INSERT INTO usage.event_keys AS k (tenant_id, digest)
    SELECT core.tenant_id(), digest FROM input ORDER BY digest
    ON CONFLICT (tenant_id, digest) DO UPDATE SET received_at = excluded.received_at
        WHERE k.received_at < excluded.received_at - interval '35 days'
    RETURNING digest
)
INSERT INTO usage.events (tenant_id, time, id, external_id, source, type, subject, occurrences, repeats, data)
SELECT core.tenant_id(), time, id, external_id, source, type, subject, occurrences, repeats, data::jsonb
FROM input JOIN fresh USING (digest);

-- name: event_key_expire
-- A day later than the ingest asks, so that no clock is waited for.
DELETE FROM usage.event_keys WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM usage.event_keys WHERE received_at < now() - interval '36 days' LIMIT $1))
    AND received_at < now() - interval '36 days'; -- again: it may have become fresh in between

-- name: events_purge
-- The first of them by their key, which is unique over all partitions where ctid is not.
DELETE FROM usage.events
WHERE tenant_id = core.tenant_id() AND (time, id) <= (
    SELECT time, id
    FROM (SELECT time, id FROM usage.events WHERE tenant_id = core.tenant_id() ORDER BY time, id LIMIT $1) AS first
    ORDER BY time DESC, id DESC LIMIT 1);

-- name: event_keys_purge
DELETE FROM usage.event_keys WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM usage.event_keys WHERE tenant_id = core.tenant_id() LIMIT $1))
    AND tenant_id = core.tenant_id();

-- name: meters_purge
DELETE FROM usage.meters WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM usage.meters WHERE tenant_id = core.tenant_id() LIMIT $1))
    AND tenant_id = core.tenant_id();

-- name: event_list
-- $10: bytes of data, and two rows more: the one that goes past it, and the one that tells that the list goes on.
SELECT id, external_id, source, type, subject, core.epoch_us(time), n, data
FROM (
SELECT *, sum(coalesce(octet_length(data), 0)) OVER (ORDER BY time DESC, id DESC
                                                     ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING) AS before
FROM (
SELECT id, external_id, source, type, subject, time, occurrences * repeats AS n, data::text AS data
FROM usage.events
WHERE tenant_id = core.tenant_id()
  AND ($1::timestamptz IS NULL OR time >= $1) AND ($2::timestamptz IS NULL OR time < $2)
  AND ($3::text IS NULL OR type = $3) AND ($4::text IS NULL OR subject = $4)
  AND ($5::text IS NULL OR source = $5) AND ($6::text IS NULL OR external_id = $6)
  AND ($7::timestamptz IS NULL OR (time, id) < ($7, $8::uuid))
ORDER BY time DESC, id DESC LIMIT $9) AS e) AS e
WHERE before IS NULL OR before <= $10
ORDER BY time DESC, id DESC;

-- name: meter_lock
-- Meters of one key are made one after the other over all tenants: neither a tenant nor the platform shadows the other.
SELECT pg_advisory_xact_lock(hashtextextended('usage.meter ' || $1, 0));

-- name: meter_taken
-- By the platform; or, when the platform makes one, by any tenant.
SELECT count(*) FROM usage.meters WHERE key = $1 AND (scope = 'all' OR $2) AND tenant_id <> core.tenant_id();

-- name: meter_insert
INSERT INTO usage.meters (tenant_id, id, key, name, event_type, aggregation, value_property, group_by, filters, unit, scope)
VALUES (core.tenant_id(), $1, $2, $3, $4, $5, $6, $7::jsonb, $8::jsonb, $9, $10);

-- name: meter_get
SELECT tenant_id, id, key, name, event_type, aggregation, value_property, group_by::text, filters::text, unit, scope, archived,
       version, core.epoch_us(created_at), core.epoch_us(updated_at)
FROM usage.meters WHERE key = $1 AND (tenant_id = core.tenant_id() OR scope = 'all');

-- name: meter_get_for_update
SELECT tenant_id, id, key, name, event_type, aggregation, value_property, group_by::text, filters::text, unit, scope, archived,
       version, core.epoch_us(created_at), core.epoch_us(updated_at)
FROM usage.meters WHERE key = $1 AND tenant_id = core.tenant_id() FOR UPDATE;

-- name: meter_list
SELECT tenant_id, id, key, name, event_type, aggregation, value_property, group_by::text, filters::text, unit, scope, archived,
       version, core.epoch_us(created_at), core.epoch_us(updated_at)
FROM usage.meters
WHERE (tenant_id = core.tenant_id() OR scope = 'all') AND ($1::text IS NULL OR key > $1)
ORDER BY key LIMIT $2;

-- name: meter_update
UPDATE usage.meters SET
    name = coalesce($2, name), unit = CASE WHEN $3 THEN $4 ELSE unit END, archived = coalesce($5::boolean, archived),
    version = version + 1, updated_at = now()
WHERE tenant_id = core.tenant_id() AND id = $1;

-- name: meter_delete
DELETE FROM usage.meters WHERE tenant_id = core.tenant_id() AND id = $1;

-- name: meter_invalid_numbers
-- Of the latest events only, so that a meter can be read however many there are.
SELECT coalesce(sum(repeats), 0)
FROM (SELECT data, repeats FROM usage.events
      WHERE tenant_id = core.tenant_id() AND type = $1 AND time >= now() - interval '35 days'
      ORDER BY time DESC LIMIT 100000) AS e
WHERE usage.number_of(data #> $2::text[]) IS NULL
  AND (cardinality($3::text[]) = 0 OR NOT EXISTS (
      SELECT 1 FROM unnest($3::text[], $4::text[]) AS f(path, allowed)
      WHERE NOT coalesce(data #>> f.path::text[] = ANY (f.allowed::text[])
                         OR usage.text_of(data #> f.path::text[]) = ANY (f.allowed::text[]), false)));

-- name: meter_invalid_values
SELECT coalesce(sum(repeats), 0)
FROM (SELECT data, repeats FROM usage.events
      WHERE tenant_id = core.tenant_id() AND type = $1 AND time >= now() - interval '35 days'
      ORDER BY time DESC LIMIT 100000) AS e
WHERE usage.distinct_of(data #> $2::text[]) IS NULL
  AND (cardinality($3::text[]) = 0 OR NOT EXISTS (
      SELECT 1 FROM unnest($3::text[], $4::text[]) AS f(path, allowed)
      WHERE NOT coalesce(data #>> f.path::text[] = ANY (f.allowed::text[])
                         OR usage.text_of(data #> f.path::text[]) = ANY (f.allowed::text[]), false)));

-- name: timezone_known
-- Not what the database's host happens to have beside IANA's names.
SELECT 1 FROM pg_timezone_names
WHERE name = $1 AND name NOT IN ('localtime', 'posixrules', 'Factory') AND name !~ '^(posix|right)/';

-- name: times
SELECT core.epoch_us(min(time)), core.epoch_us(max(time)) FROM usage.events WHERE tenant_id = core.tenant_id() AND type = $1;

-- name: bounds_day
-- The first instant of each local date: PostgreSQL's reading of the local midnight, or an instant near it where midnight comes
-- twice (the earlier) or not at all (the first that there is). A date that does not exist yields its successor's bound.
SELECT DISTINCT core.epoch_us(coalesce(
    (SELECT min(c.at) FROM (SELECT (d.day AT TIME ZONE $3) + make_interval(mins => m) AS at
                            FROM generate_series(-180, 180, 15) AS m) AS c
     WHERE (c.at AT TIME ZONE $3)::date >= d.day::date),
    d.day AT TIME ZONE $3)) AS bound
FROM generate_series(date_trunc('day', $1::timestamptz AT TIME ZONE $3) - interval '1 day',
                     date_trunc('day', $2::timestamptz AT TIME ZONE $3) + interval '2 days', interval '1 day') AS d(day)
ORDER BY bound;

-- name: bounds_month
SELECT DISTINCT core.epoch_us(coalesce(
    (SELECT min(c.at) FROM (SELECT (d.day AT TIME ZONE $3) + make_interval(mins => m) AS at
                            FROM generate_series(-180, 180, 15) AS m) AS c
     WHERE (c.at AT TIME ZONE $3)::date >= d.day::date),
    d.day AT TIME ZONE $3)) AS bound
FROM generate_series(date_trunc('month', $1::timestamptz AT TIME ZONE $3) - interval '1 month',
                     date_trunc('month', $2::timestamptz AT TIME ZONE $3) + interval '2 months', interval '1 month') AS d(day)
ORDER BY bound;

-- name: bounds_hour
-- Instants at which a local hour begins. Of each quarter of an hour: the beginning of its local hour, where the zone has not
-- been moved in between (offsets of today are multiples of a quarter, those before standard time are any); and itself, where a
-- move of the zone lets it fall into another hour than the instant before.
SELECT DISTINCT core.epoch_us(b.at) AS bound
FROM generate_series(date_trunc('hour', $1::timestamptz, 'UTC') - interval '2 hours',
                     $2::timestamptz + interval '3 hours', interval '15 minutes') AS t,
     LATERAL (SELECT t - ((t AT TIME ZONE $3) - date_trunc('hour', t AT TIME ZONE $3)) AS at
              UNION ALL
              SELECT t WHERE date_trunc('hour', t AT TIME ZONE $3)
                  <> date_trunc('hour', (t - interval '1 microsecond') AT TIME ZONE $3)) AS b
WHERE (b.at AT TIME ZONE $3) = date_trunc('hour', b.at AT TIME ZONE $3)
   OR date_trunc('hour', b.at AT TIME ZONE $3) <> date_trunc('hour', (b.at - interval '1 microsecond') AT TIME ZONE $3)
ORDER BY bound;

-- name: bounds_minute
SELECT DISTINCT core.epoch_us(t - ((t AT TIME ZONE $3) - date_trunc('minute', t AT TIME ZONE $3))) AS bound
FROM generate_series(date_trunc('minute', $1::timestamptz, 'UTC') - interval '1 minute',
                     $2::timestamptz + interval '2 minutes', interval '1 minute') AS t
ORDER BY bound;

-- name: usage_head
-- A usage query is this, one of the aggregates, and usage_tail. $5: window bounds, or NULL; $6: whether subjects are told
-- apart; $7: paths to group by; $8, $9: paths to filter by and the lists of values that pass; $10: path of the value; $11: how
-- many rows at the most; $12: how many bytes of groups and subjects. Of what goes past that only the first row is given: total,
-- the bytes up to each row, tells so.
SELECT w, s, g, value, total FROM (
SELECT u.*, sum(size) OVER (ORDER BY u.w, u.s NULLS FIRST, u.g ROWS UNBOUNDED PRECEDING) AS total
FROM (SELECT v.*, pg_column_size(v.g) + coalesce(octet_length(v.s), 0) AS size FROM (
SELECT CASE WHEN $5::timestamptz[] IS NULL THEN 1 ELSE width_bucket(e.time, $5::timestamptz[]) END AS w,
       CASE WHEN $6::boolean THEN e.subject END AS s,
       CASE WHEN cardinality($7::text[]) = 0 THEN '{}'::text[]
            ELSE ARRAY(SELECT usage.text_of(e.data #> g.path::text[]) FROM unnest($7::text[]) WITH ORDINALITY AS g(path, n) ORDER BY g.n)
       END AS g,

-- name: usage_tail
AS value
FROM (SELECT x.*, usage.number_of(x.data #> $10::text[]) AS n FROM usage.events x
      WHERE x.tenant_id = core.tenant_id() AND x.type = $1 AND x.time >= $2 AND x.time < $3
        AND ($4::text IS NULL OR x.subject = $4)
        AND (cardinality($8::text[]) = 0 OR NOT EXISTS (
            SELECT 1 FROM unnest($8::text[], $9::text[]) AS f(path, allowed)
            WHERE NOT coalesce(x.data #>> f.path::text[] = ANY (f.allowed::text[])
                               OR usage.text_of(x.data #> f.path::text[]) = ANY (f.allowed::text[]), false)))) AS e
GROUP BY 1, 2, 3
ORDER BY 1, 2 NULLS FIRST, 3
LIMIT $11) AS v) AS u) AS t
WHERE total - size <= $12
ORDER BY w, s NULLS FIRST, g;

-- name: aggregate_count
sum(e.occurrences * e.repeats)::numeric

-- name: aggregate_sum
sum(e.n * e.repeats)

-- name: aggregate_min
min(e.n)

-- name: aggregate_max
max(e.n)

-- name: aggregate_avg
-- A quotient has the scale of its operands at the least, and is rounded to it. To 18 digits it must be rounded but once: what is
-- not half a unit of the 18th digit differs from it by more than 10^-40, as long as it is an average over fewer than 10^21.
round(sum(e.n * e.repeats)::numeric(1000, 40) / nullif(sum(e.repeats) FILTER (WHERE e.n IS NOT NULL), 0), 18)

-- name: aggregate_unique_count
count(DISTINCT usage.distinct_of(e.data #> $10::text[]))::numeric

-- name: aggregate_latest
-- The greatest of texts that begin with time (20 characters; years are 0001 to 9999) and id (36): one row is held, not all of the
-- group's.
substr(max((to_char(e.time AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISSUS') || e.id::text || e.n::text) COLLATE "C")
       FILTER (WHERE e.n IS NOT NULL), 57)::numeric
