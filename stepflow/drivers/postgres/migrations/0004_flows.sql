-- The names of the flows that an owner claims, a JSON list: so that one can be told whether anybody takes the runs of a flow.

alter table stepflow.owners add column flows text not null default '[]';
