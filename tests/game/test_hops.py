"""How a move reaches the other player: by pushes alone, so that no timer adds to the time that it takes (which the bench rows game.* measure)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from go_site import site

LIMIT_S = 60.0  # the end of a test that would wait for a timer

pytestmark = pytest.mark.anyio


class BoardStream:
    """The stream of boards of one player, read from the application itself."""

    def __init__(self, application: Any, game: str) -> None:
        self._boards: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = {"type": "http", "method": "GET", "path": f"/games/{game}/boards", "query_string": b"", "headers": []}
        self._task = asyncio.create_task(application(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()  # the page stays
        raise AssertionError

    async def _send(self, message: dict[str, Any]) -> None:
        for line in message.get("body", b"").splitlines():
            if line.startswith(b"data: "):
                self._boards.put_nowait(json.loads(line[6:]))

    async def next(self) -> dict[str, Any]:
        return await self._boards.get()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


@contextmanager
def no_timer_fires() -> Iterator[None]:
    """The clock of the event loop stands still: whatever waits for a time waits until LIMIT_S seconds are over, and is cancelled then."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    stopped = loop.time()
    loop.time = lambda: stopped  # type: ignore[method-assign]
    limit = threading.Timer(LIMIT_S, lambda: loop.call_soon_threadsafe(task.cancel, "a move waits for a timer"))
    limit.start()
    try:
        yield
    finally:
        limit.cancel()
        del loop.time


async def test_no_timer_is_between_a_move_and_the_streams_of_both_players(tmp_path):
    application = site(f"sqlite:///{tmp_path}/go.db")
    transport = httpx2.ASGITransport(application)
    async with (
        application.router.lifespan_context(application),
        httpx2.AsyncClient(transport=transport, base_url="http://game") as client,
    ):
        made = (await client.post("/games")).json()
        streams = [BoardStream(application, made["game"]) for _player in "bw"]
        assert [(await one.next())["moves"] for one in streams] == [[], []]
        with no_timer_fires():
            for number, at in enumerate(("D4", "E5", "C3", "pass", "F6"), 1):
                answer = await client.post(
                    f"/games/{made['game']}/moves",
                    headers={"authorization": f"Bearer {made['keys']['b' if number % 2 else 'w']}"},
                    json={"id": f"move-number-{number}", "number": number, "at": at},
                )
                assert answer.status_code == 202, answer.text
                assert [len((await one.next())["moves"]) for one in streams] == [number, number]
        for one in streams:
            await one.close()
