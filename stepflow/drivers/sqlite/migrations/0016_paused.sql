-- Pauses: a paused queue row is in a partition of its own, which no claim reads; of a paused flow no run is claimed.
ALTER TABLE stepflow_queue ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
CREATE TABLE stepflow_paused_flows (
    shard TEXT    NOT NULL,
    flow  TEXT    NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (shard, flow)
) WITHOUT ROWID;
