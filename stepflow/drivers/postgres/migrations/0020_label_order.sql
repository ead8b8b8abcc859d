-- The labels of runs in the order in which these were created, so that a list of the runs that have one begins at its newest.
-- Writes each label once: up to a minute where a million runs have two each. Sessions wait meanwhile.

alter table stepflow.labels drop constraint labels_pkey, add column created_at bigint not null default 0;
update stepflow.labels l set created_at = s.created_at from stepflow.states s where s.shard = l.shard and s.id = l.id;
alter table stepflow.labels alter column created_at drop default, add primary key (shard, label, created_at, id);

-- What few open runs are is found whatever others there are: which wait for something else than an event, or are paused.
create index states_polling on stepflow.states (shard, flow, created_at, id)
    where waiting not in ('', 'delay') and waiting not like 'event:_%';
create index queue_paused on stepflow.queue (shard, id) where partition = 5;
