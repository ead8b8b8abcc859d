"""Verbs on many runs over HTTP share requests: what they send does not grow by several requests for each run."""

from __future__ import annotations

from collections import Counter

import pytest

from stepflow import Context, Engine, RunFilter, named, workflow
from stepflow.drivers.http.client import ServerClient
from tests.http.served import Served

RUNS = 100
CHAIN = named("chain", dict[str, int]).do("a", lambda o: None).wait_event("w", "go", int, lambda o, n: None).compile()
ALL = RunFilter(flow="chain")


@workflow("waits.v1")
def waits(wf: Context, number: int) -> int:
    return number + wf.wait_for_event("e", "e", int)


@pytest.fixture
def served(tmp_path):
    store = f"sqlite:///{tmp_path}/served.db"
    with Engine(store) as engine:
        engine.register(CHAIN, waits)
        engine.start_many(CHAIN, [(f"c{number:03}", {"n": number}) for number in range(RUNS)])
        engine.start_many(waits, [(f"w{number:03}", number) for number in range(RUNS)])
        engine.run_until_idle()
    server = Served(store)
    yield server
    server.close()


@pytest.fixture
def sent(monkeypatch):
    """How often each method was called."""
    counts: Counter[str] = Counter()
    call = ServerClient.call

    def counted(client, method, *args, **options):
        counts[method] += 1
        return call(client, method, *args, **options)

    monkeypatch.setattr(ServerClient, "call", counted)
    return counts


VERBS = {
    "pause": (lambda engine: engine.pause(ALL, dry_run=False), {"read": 0, "load": 0, "commit": 0.4}),
    "resume": (lambda engine: engine.resume(ALL, dry_run=False), {"read": 0, "load": 0, "commit": 0.4}),
    "publish": (lambda engine: engine.publish(ALL, "go", 1, dry_run=False), {"read": 0, "load": 0, "commit": 0.4}),
    "rewind, dry": (lambda engine: engine.rewind(ALL, "start:chain"), {"read": 2, "load": 0.1, "commit": 0}),
    "rewind": (lambda engine: engine.rewind(ALL, "start:chain", dry_run=False), {"read": 2, "load": 0.1, "commit": 1}),
    "fork": (lambda engine: engine.fork(ALL, "start:chain", suffix="-b", dry_run=False), {"read": 2, "load": 0.1, "commit": 1}),
    "cancel": (lambda engine: engine.cancel(RunFilter(flow="waits.v1"), dry_run=False), {"read": 0, "load": 0.1, "commit": 1}),
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_requests_of_each_run(served, sent, verb):
    """A slow server gets batches of five, and of each the first commit may be under way before the others are there: 0.4 at most. The commits of runs that
    are planned apart go together as they come: at worst each alone, in practice 16.
    """
    do, most = VERBS[verb]
    with Engine(served.url) as engine:
        if verb == "resume":
            engine.pause(ALL, dry_run=False)
        sent.clear()
        assert do(engine).count == RUNS
        found = {name: sent[name] for name in most}
    pages = 4  # of the list itself, and the first and the last piece
    assert all(found[name] <= most[name] * RUNS + pages for name in most), found
