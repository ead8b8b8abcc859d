"""Engines on a server that makes trouble: few connections, lost answers, transactions that are taken back."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from stepflow import AsyncEngine, Engine, Execute, StateCtx, StoreData, commit, delay, flow, named, park, transit
from tests.postgres.hinder import hinder
from tests.postgres.proxy import Proxy
from tests.postgres.server import Server
from tests.processes.blobs import keep_large_blob

RUNS, ENGINES = 40, 4


class Ledger:
    """Counts what the steps of every run did."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def chain(self, name: str, *steps: str) -> Any:
        """A flow whose steps count themselves."""
        chain = named(name, dict)
        for step in steps:
            chain = chain.do(step, self._step(step))
        return chain.compile()

    def _step(self, step: str) -> Any:
        def count(exchange: dict[str, Any]) -> None:
            self.counts[exchange["id"], step] += 1

        return count


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(Path(server.uri.partition("host=")[2]))
    yield proxy
    proxy.close()


def test_engines_with_two_connections_each_do_not_wait_for_each_other(server: Server, ledger: Ledger) -> None:
    """Several engines in one process work, look, wait for results and watch; the role may have no connection more."""
    server.execute(f"create role sparing login connection limit {2 * ENGINES}")
    server.execute("grant create on database postgres to sparing")
    url = server.url(connections=2).replace("postgres:@", "sparing:@")
    chain = ledger.chain("chain", "a", "b", "c")
    seen: list[int] = []
    with ExitStack() as stack:
        engines = [stack.enter_context(Engine(url)) for _ in range(ENGINES)]
        for engine in engines:
            engine.register(chain)
            stack.enter_context(engine.worker())

        def client(engine: Engine, number: int) -> None:
            watch = engine.watch(since=0)
            ids = [f"r{number}-{n}" for n in range(RUNS // ENGINES)]
            runs = [engine.start(chain, {"id": run_id}, id=run_id) for run_id in ids]
            engine.tally()
            for run in runs:
                run.result(60)
                assert len(run.history()) == 4
            seen.append(sum(next(watch) is not None for _ in range(RUNS * 4)))

        threads = [threading.Thread(target=client, args=(engine, n)) for n, engine in enumerate(engines)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
    assert seen == [RUNS * 4] * ENGINES
    assert len(ledger.counts) == RUNS * 3
    assert set(ledger.counts.values()) == {1}


@pytest.mark.parametrize("needle", [b"insert into ", b"set rev = u.rev", b"skip locked", b".events (shard"])
def test_an_answer_that_got_lost_inside_commit_repeats_nothing(
    server: Server, proxy: Proxy, ledger: Ledger, needle: bytes
) -> None:
    url = server.url().replace(server.uri.partition("host=")[2], str(proxy.folder), 1)
    chain = (
        named("chain", dict)
        .do("a", ledger._step("a"))
        .wait_event("news", "news", int, lambda exchange, payload: exchange.update(news=payload))
        .do("b", ledger._step("b"))
        .compile()
    )
    with Engine(url) as engine:
        engine.register(chain)
        proxy.cut(needle)
        with engine.worker():
            run = engine.start(chain, {"id": "r"}, id="r")
            run.publish("news", 7, id="once")
            assert run.result(60) == {"id": "r", "news": 7}
        assert proxy.cuts == 1
        assert ledger.counts == {("r", "a"): 1, ("r", "b"): 1}
        assert [entry.exchange.get("news") for entry in run.history()] == [None, None, 7, 7]
        assert run.info().crashes == 0


@pytest.mark.parametrize("needle", [b".data (shard", b".delays (", b"set rev = u.rev"])
def test_a_lost_answer_to_data_delays_and_transitions_is_found_again(
    server: Server, proxy: Proxy, needle: bytes
) -> None:
    """One commit with a transition, data and a delay, whose answer gets lost: it is done once, and answered rightly."""
    url = server.url().replace(server.uri.partition("host=")[2], str(proxy.folder), 1)
    with Engine(url) as engine:
        ctx = StateCtx("s")
        engine.do(commit(park(ctx)))
        ctx.set_data("file", b"text")
        proxy.cut(needle)
        engine.do(commit(StoreData(ctx, "file"), transit(ctx, "later"), delay(ctx, "later", 1000)))
        assert proxy.cuts == 1
        assert ctx.rev == engine.get_state("s").rev
        assert ctx.data("file").rev == 1
        assert len(list(engine.iterate())) == 2


def test_transactions_that_are_taken_back_are_done_again_unnoticed(server: Server, ledger: Ledger) -> None:
    """Every fifth transaction fails as after a deadlock or a serialization failure."""
    url = server.url()
    chain = ledger.chain("chain", "a", "b", "c")
    moved: list[str] = []

    @flow("next")
    def on(ctx: StateCtx) -> Any:
        moved.append(ctx.id)
        return commit(park(ctx))

    async def work() -> None:
        async with AsyncEngine(url) as engine, AsyncEngine(url) as other:
            hinder(server, url, pause_s=0.002, share=0.2)
            for one in (engine, other):
                one.register(chain, on)
            async with engine.worker(), other.worker():
                runs = [await engine.start(chain, {"id": f"r{n}"}, id=f"r{n}") for n in range(20)]
                for number in range(10):
                    ctx = StateCtx(f"s{number}")
                    await other.do(commit(transit(ctx, "next")), Execute(ctx))
                await asyncio.gather(*(run.result(60) for run in runs))
                watch = other.watch(since=0)
                while len(moved) < 10:
                    assert await watch.next(60) is not None
            assert [len(await run.history()) for run in runs] == [4] * 20

    asyncio.run(work())
    assert set(ledger.counts.values()) == {1}
    assert len(ledger.counts) == 20 * 3
    assert sorted(moved) == [f"s{n}" for n in range(10)]


def test_a_blob_of_some_megabytes(server: Server) -> None:
    keep_large_blob(server.url(), 5)


@pytest.mark.soak
def test_a_blob_of_100_megabytes(server: Server) -> None:
    keep_large_blob(server.url())
