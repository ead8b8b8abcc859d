"""What flow functions visited, and waiting for it without sleeping."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from stepflow import StateCtx


class Tracker:
    """Records visits from any thread."""

    def __init__(self) -> None:
        self._visited: list[str] = []
        self._news = threading.Condition()

    def __call__(self, ctx: StateCtx, *, state: bool = False, resumed: bool = False) -> None:
        """Note the flow that the State goes to, with `:resumed` and `:<state id>` if asked for."""
        text = ctx.transition.to
        if resumed and ctx.annotation("state") == "resumed":
            text += ":resumed"
        self.note(f"{text}:{ctx.id}" if state else text)

    def note(self, text: str) -> None:
        with self._news:
            self._visited.append(text)
            self._news.notify_all()

    @property
    def visited(self) -> list[str]:
        with self._news:
            return list(self._visited)

    def forget(self) -> None:
        self._visited.clear()

    def count(self, text: str) -> int:
        return self.visited.count(text)

    async def until(self, count: int, within: float = 20) -> list[str]:
        """Wait until there are so many visits; the visits."""
        await self.when(lambda visited: len(visited) >= count, within)
        return self.visited

    async def when(self, true: Callable[[list[str]], bool], within: float = 20) -> None:
        def wait() -> bool:
            with self._news:
                return self._news.wait_for(lambda: true(self._visited), within)

        assert await asyncio.to_thread(wait), self.visited


def on_loop(scenario: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine function; it has 60 seconds."""

    @wraps(scenario)
    def test(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(scenario(*args, **kwargs), 60))

    return test
