"""The 38 cases of flowstate's driver suite, as a foreign client sends them: raw requests to `stepflow serve`, in both forms.

Each case has a namespace of its own on one server, and a delayer that runs beside it, as in the origin's harness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import httpx2
import pytest

from tests.foreign import execution_cases, pattern_cases, read_cases
from tests.foreign.client import Driver, Form, States
from tests.foreign.engine import LIMIT_S, Engine
from tests.postgres.server import Server
from tests.server.test_serve import serving

CASES = execution_cases.CASES | pattern_cases.CASES | read_cases.CASES


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.soak)])
def url(request, tmp_path_factory, forking) -> Iterator[str]:
    with ExitStack() as stack:
        store = "sqlite:///stepflow.db"
        if request.param == "postgres":
            postgres = Server(18)
            stack.callback(postgres.close)
            store = postgres.url()
        _process, url = stack.enter_context(serving(tmp_path_factory.mktemp("foreign"), "--store", store))
        yield url


@pytest.mark.parametrize("form", ["protobuf", "json"])
@pytest.mark.parametrize("number", CASES, ids=lambda number: f"case_{number:02}_{CASES[number].__name__}")
def test_a_foreign_client(url: str, number: int, form: Form) -> None:
    asyncio.run(play(url, number, form))


async def play(url: str, number: int, form: Form) -> None:
    """Run one case, stop its engine, and read the log: it is gapless for a reader in pages, and in order."""
    async with httpx2.AsyncClient(base_url=url, timeout=LIMIT_S) as http:
        engine = Engine(Driver(http, f"case-{number}-{form}", form))
        await engine.start_delayer()
        async with asyncio.timeout(LIMIT_S):
            await CASES[number](engine)
        await engine.stop()
        whole = States(limit=1000)
        await engine.do(whole)
        revs, page = [], States(limit=3)
        while not revs or page.more:
            await engine.do(page)
            revs += [state.rev for state in page.found]
            page.since_rev = revs[-1]
        assert revs == sorted(set(revs)) == [state.rev for state in whole.found]
        head = States(since_rev=-1, latest_only=True, limit=1)
        await engine.do(head)
        assert [state.rev for state in head.found] == revs[-1:]


def test_all_38_cases_are_there():
    assert sorted(CASES) == list(range(1, 39))
