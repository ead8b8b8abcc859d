"""A schema whose transactions get into each other's way, as the server tells it."""

from __future__ import annotations

from tests.postgres.server import Server

# Between the drawing of a revision and its commit some time passes; some transactions are rolled back by the server.
# A connection whose last transaction was rolled back is left alone in its next one, so that no retry fails again and
# again by chance. Sequences remember this, because a rollback does not undo them: `tries` counts the transactions of
# all connections, `failed` holds the try that a connection failed last.
TRIGGER = """
create sequence {schema}.tries;
create sequence {schema}.failed;
create function {schema}.hinder() returns trigger language plpgsql as $$
declare
    last bigint := 0;
    spared bigint := -1;
    try bigint;
begin
    perform pg_sleep(random() * {pause});
    if current_setting('hinder.seen', true) is not distinct from txid_current()::text then
        return null;
    end if;
    perform set_config('hinder.seen', txid_current()::text, true);
    begin
        last := currval('{schema}.tries');
        spared := currval('{schema}.failed');
    exception when object_not_in_prerequisite_state then
        null;
    end;
    try := nextval('{schema}.tries');
    if random() < {share} and spared <> last then
        perform setval('{schema}.failed', try);
        raise exception 'in the way' using errcode = case when random() < 0.5 then '40001' else '40P01' end;
    end if;
    return null;
end $$;
create trigger hinder after insert on {schema}.history for each statement execute function {schema}.hinder()
"""


def hinder(server: Server, url: str, *, pause_s: float = 0.01, share: float = 0.03) -> None:
    """From now on every writer of this store pauses, and this share of transactions fails as after a deadlock."""
    schema = url.rpartition("schema=")[2].partition("&")[0]
    server.execute(TRIGGER.format(schema=schema, pause=pause_s, share=share))
