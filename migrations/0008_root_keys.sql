-- Which root keys this installation has: a root key that is none of them makes API keys that nobody can use, and knows
-- none of those that there are. What is kept of a root key is derived from it as its other subkeys are, under a number of
-- its own, and tells nothing of them. It stays when the key has been rotated out: that does no harm, such a file is merely
-- not told apart from one in use.
CREATE TABLE core.root_keys (
    fingerprint   bytea       PRIMARY KEY CHECK (octet_length(fingerprint) = 16),
    first_used_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT ON core.root_keys TO meterplex_app;

-- The rule, an mpx_rootkey_standing_e. 0: all of these are recorded. 1: they may be, since none is, or since they come along
-- with one that is, as in a rotation. 2: some are recorded, and none of these.
CREATE FUNCTION core.root_key_standing(loaded bytea[]) RETURNS integer
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
        SELECT CASE WHEN NOT EXISTS (SELECT FROM core.root_keys) THEN 1
                    WHEN NOT EXISTS (SELECT FROM core.root_keys WHERE fingerprint = ANY (loaded)) THEN 2
                    WHEN EXISTS (SELECT FROM unnest(loaded) AS l (fingerprint)
                                  WHERE l.fingerprint NOT IN (SELECT r.fingerprint FROM core.root_keys r)) THEN 1
                    ELSE 0
               END
    $$;
