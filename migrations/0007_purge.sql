-- What a deleted tenant leaves is deleted 30 days later, its own row last. Where the role of httpd gets the right to delete here, a
-- restrictive policy holds it to tenants whose 30 days are over, so that no mistake of a statement removes what is a living
-- tenant's (who has the role for himself can delete a tenant first, and date it back). Entries of the audit trail stay: they are the proof, and nobody has the right.
--
-- The 30 days are counted in hours: those are as long in every session, whatever its time zone.

-- Is the tenant of this transaction gone: purged, or deleted so long ago that it may be being purged? Usage that comes so late, from
-- a node that was away, is dropped: nobody could ever see it, and it would stay. Of no tenant nothing is said. In plpgsql, which
-- keeps its plan: every ingest asks.
CREATE FUNCTION core.tenant_is_gone() RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
        BEGIN
            RETURN core.tenant_id() IS NOT NULL
               AND NOT EXISTS (SELECT FROM identity.tenants
                               WHERE id = core.tenant_id()
                                 AND (deleted_at IS NULL OR deleted_at + interval '720 hours' > now()));
        END
    $$;

-- When a tenant that was deleted then is purged. An hour later than it is gone: by then every transaction that found it there, and
-- may have added to it, is over.
CREATE FUNCTION identity.purge_at(deleted_at timestamptz) RETURNS timestamptz
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    AS $$ SELECT deleted_at + interval '721 hours' $$;

-- The first table that still holds rows of the transaction's tenant, NULL when none does. The catalogue is asked for the tables: one
-- that nobody purges (its module is not loaded, or forgot it) keeps the tenant's row from being deleted.
CREATE FUNCTION core.tenant_leftover() RETURNS text
    LANGUAGE plpgsql STABLE
    AS $$
        DECLARE
            held text;
            is_left boolean;
        BEGIN
            FOR held IN
                SELECT format('%I.%I', n.nspname, c.relname)
                  FROM pg_catalog.pg_class c
                  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
                 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname <> 'audit'
                   AND pg_catalog.pg_get_userbyid(c.relowner) = 'meterplex_owner'
                 ORDER BY 1
            LOOP
                EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE tenant_id = core.tenant_id())', held) INTO is_left;
                IF is_left THEN
                    RETURN held;
                END IF;
            END LOOP;
            RETURN NULL;
        END
    $$;

-- The few that are deleted are looked for every ten minutes.
CREATE INDEX tenants_deleted ON identity.tenants (deleted_at) WHERE deleted_at IS NOT NULL;

-- In a subquery, so that it is asked once for a statement and not for each row.
CREATE POLICY purge ON identity.tenants AS RESTRICTIVE FOR DELETE
    USING (NOT platform AND deleted_at + interval '720 hours' <= now());
CREATE POLICY purge ON identity.api_keys AS RESTRICTIVE FOR DELETE USING ((SELECT core.tenant_is_gone()));
CREATE POLICY purge ON events.outbox AS RESTRICTIVE FOR DELETE USING ((SELECT core.tenant_is_gone()));
CREATE POLICY purge ON usage.events AS RESTRICTIVE FOR DELETE USING ((SELECT core.tenant_is_gone()));
GRANT DELETE ON identity.tenants, identity.api_keys, events.outbox, usage.events TO meterplex_app;
