"""The game of examples/realtime_game: how long after a move the other player sees it."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import Any

from tests.bench.probe import ROOT
from tests.bench.served import listening, percentiles

Figures = dict[str, Any]
LIMIT_S = 30.0  # for a move
LONGEST = 45  # moves of one game, on every second row, so that no stone is captured
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
SHOWN = "number => document.body.dataset.shown?.startsWith(number + ' ')"


def playing(folder: Path, store: str, place: str) -> AbstractContextManager[tuple[str, int]]:
    """The server of the game in a process of its own, on a free port."""
    script = ROOT / "examples" / "realtime_game" / "play.py"
    return listening([str(script), "--port", "0", "--store", f"{store}:///{place}"], folder)


def _games(moves: int) -> Iterator[list[str]]:
    """The points of each game, in their order."""
    points = [f"{column}{row}" for row in range(9, 0, -2) for column in "ABCDEFGHJ"]
    for first in range(0, moves, LONGEST):
        yield points[: min(LONGEST, moves - first)]


def streamed(folder: Path, *, store: str, place: str, moves: int) -> Figures:
    """Milliseconds from the request of a move until the stream of the other player has the board with it: the median."""
    import urllib3

    spans = list[float]()
    with playing(folder, store, place) as (url, _pid), urllib3.PoolManager(maxsize=4) as client:
        for points in _games(moves):
            made = client.request("POST", f"{url}/games").json()
            game, keys = f"{url}/games/{made['game']}", made["keys"]
            streams = {colour: _follow(client, game) for colour in keys}
            for stream in streams.values():
                assert stream.get(timeout=LIMIT_S)[0] == 0
            for number, at in enumerate(points, 1):
                mover, other = ("b", "w") if number % 2 else ("w", "b")
                body, head = {"id": f"move-{number:04}", "number": number, "at": at}, f"Bearer {keys[mover]}"
                sent = perf_counter()
                answer = client.request("POST", f"{game}/moves", json=body, headers={"authorization": head})
                assert answer.status == 202, answer.data
                shown = {colour: stream.get(timeout=LIMIT_S) for colour, stream in streams.items()}
                assert {count for count, _when in shown.values()} == {number}
                spans.append(shown[other][1] - sent)
    return _figures(spans, moves)


def _figures(spans: list[float], moves: int) -> Figures:
    return percentiles(spans) | {"steps": len(spans), "expected": moves}


def _follow(client: Any, game: str) -> SimpleQueue[tuple[int, float]]:
    """Reads the stream of a player in a thread: how many moves each board has, and when it was there."""
    boards: SimpleQueue[tuple[int, float]] = SimpleQueue()

    def read() -> None:
        import urllib3

        try:
            for line in client.request("GET", f"{game}/boards", preload_content=False):
                if line.startswith(b"data: "):
                    boards.put((len(json.loads(line[6:])["moves"]), perf_counter()))
        except urllib3.exceptions.HTTPError:
            return  # the server was stopped

    threading.Thread(target=read, daemon=True).start()
    return boards


def clicked(folder: Path, *, store: str, place: str, moves: int) -> Figures:
    """Milliseconds from a click in one tab of a real browser until the other tab has drawn the board: the median."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        return {"refused": "no Chromium is installed"}
    with playing(folder, store, place) as (url, _pid):
        return asyncio.run(_clicked(url, path, moves))


async def _clicked(url: str, path: str, moves: int) -> Figures:
    from playwright.async_api import async_playwright

    spans = list[float]()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path)
        context = await browser.new_context()
        for points in _games(moves):
            black, white = await context.new_page(), await context.new_page()
            await black.goto(f"{url}/")
            await black.get_by_role("button", name="New game").click()
            await black.wait_for_function(SHOWN, arg="0")
            await white.goto(await black.get_by_label("Link for the other player").input_value())
            await white.wait_for_function(SHOWN, arg="0")
            for number, at in enumerate(points, 1):
                mover, other = (black, white) if number % 2 else (white, black)
                await mover.locator(f'[data-at="{at}"]').click()
                for page in (other, mover):
                    await page.wait_for_function(SHOWN, arg=str(number))
                sent = await mover.evaluate("document.body.dataset.sent")
                shown = await other.evaluate("document.body.dataset.shown")
                assert sent.split()[0] == shown.split()[0] == str(number)
                spans.append((float(shown.split()[1]) - float(sent.split()[1])) / 1000)
            await black.close()
            await white.close()
        await browser.close()
    return _figures(spans, moves)
