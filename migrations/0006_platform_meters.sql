-- A platform meter is looked for in every request for meters, whoever asks: without an index of its own that reads all tenants'.
CREATE INDEX meters_platform ON usage.meters (key) WHERE scope = 'all';
