-- How many attempts of the step at the run's revision ended without a commit: their owner died, or was interrupted.

alter table stepflow.queue add column unfinished integer not null default 0;
update stepflow.queue set unfinished = crashes where crashes > 0;
