"""A schema whose transactions get into each other's way, as the server tells it."""

from __future__ import annotations

from tests.postgres.server import Server

# Between the drawing of a revision and its commit some time passes; some transactions are taken back by the server.
TRIGGER = """
create function {schema}.hinder() returns trigger language plpgsql as $$ begin
    perform pg_sleep(random() * {pause});
    if random() < {share} then
        raise exception 'in the way' using errcode = case when random() < 0.5 then '40001' else '40P01' end;
    end if;
    return null;
end $$;
create trigger hinder after insert on {schema}.history for each statement execute function {schema}.hinder()
"""


def hinder(server: Server, url: str, *, pause_s: float = 0.01, share: float = 0.03) -> None:
    """From now on every writer of this store pauses, and so many are taken back as after a deadlock."""
    schema = url.rpartition("schema=")[2].partition("&")[0]
    server.execute(TRIGGER.format(schema=schema, pause=pause_s, share=share))
