-- The runs that had ended as of a revision, as JSON [[flow, status, number], ...], which a tally adds to; rev 0: not counted.
-- prunings counts the transactions that took runs out, so that no older count replaces the row.

create table stepflow.tallied (
    shard    text collate "C" not null primary key,
    rev      bigint           not null,
    prunings bigint           not null,
    counts   text             not null
);
