-- Keys of events leave when they are too old to matter. BRIN: rows arrive in the order of received_at, so a few pages say where
-- the old ones lie, at next to no cost for those that come in.
CREATE INDEX event_keys_age ON usage.event_keys USING brin (received_at) WITH (pages_per_range = 32, autosummarize = on);
CREATE POLICY expiry ON usage.event_keys FOR SELECT USING (core.is_platform());
CREATE POLICY expiry_delete ON usage.event_keys FOR DELETE USING (core.is_platform());
