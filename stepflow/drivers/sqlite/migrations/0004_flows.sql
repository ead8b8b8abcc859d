-- The names of the flows that an owner claims, a JSON list: so that one can be told whether anybody takes the runs of a flow.

ALTER TABLE stepflow_owners ADD COLUMN flows TEXT NOT NULL DEFAULT '[]';
