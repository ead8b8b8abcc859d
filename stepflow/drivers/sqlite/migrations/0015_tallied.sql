-- The runs that had ended as of a revision, as JSON [[flow, status, number], ...], which a tally adds to; rev 0: not counted.
-- prunings counts the transactions that took runs out, so that no older count replaces the row.
CREATE TABLE stepflow_tallied (
    shard    TEXT    NOT NULL PRIMARY KEY,
    rev      INTEGER NOT NULL,
    prunings INTEGER NOT NULL,
    counts   TEXT    NOT NULL
) WITHOUT ROWID;
