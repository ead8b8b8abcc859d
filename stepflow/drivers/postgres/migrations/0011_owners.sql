-- What tells a dead owner from a living one: its process, the server's start under which it took its lock, and, after it was
-- reclaimed, when (microseconds UTC, 0: it was not) and for which runs a crash was counted, as JSON.

alter table stepflow.owners
    add column process      text   not null default '',
    add column boot         text   not null default '',
    add column reclaimed_at bigint not null default 0,
    add column counted      text   not null default '[]';
