"""A real Chromium for tests without an event loop of their own: Playwright's loop runs in a thread, objects are called from here.

The synchronous face of Playwright would keep an event loop running in the thread of the tests, in which no other test could run one.
"""

from __future__ import annotations

import asyncio
import inspect
import shutil
import threading
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.async_api import async_playwright
from playwright.async_api import expect as expect_async

# The first has no windows, and takes three quarters of the time of a processor.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
ONE_RENDERER = (
    "--renderer-process-limit=1"  # for all tabs: another process for each costs as much as the page that it shows
)
LIMIT_S = 60.0  # for a call of a browser on a busy machine
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
ALL_RULES = {"resultTypes": ["violations"]}
RULES_OF_COLOURS = ["color-contrast", "link-in-text-block"]  # what the scheme changes
expect_async.set_options(timeout=30_000)


class CallableHere:
    """An object of Playwright whose methods are called, and awaited, in the thread of its loop."""

    def __init__(self, made: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._made, self._loop = made, loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._made, name)
        return self._calling(value) if callable(value) else self._here(value)

    def _calling(self, method: Any) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            value = method(*args, **options)
            return await value if inspect.isawaitable(value) else value

        def here(*args: Any, **options: Any) -> Any:
            return self._here(asyncio.run_coroutine_threadsafe(call(*args, **options), self._loop).result(LIMIT_S))

        return here

    def _here(self, value: Any) -> Any:
        return CallableHere(value, self._loop) if type(value).__module__.startswith("playwright.") else value


def expect(target: CallableHere) -> Any:
    """Playwright's assertions, which wait until they hold."""
    return CallableHere(expect_async(target._made), target._loop)


def follow(link: CallableHere) -> None:
    """Click what leads to another page, and wait until that is there: a click alone does not wait for it."""

    async def clicked() -> None:
        async with link._made.page.expect_navigation():
            await link._made.click()

    asyncio.run_coroutine_threadsafe(clicked(), link._loop).result(LIMIT_S)


class Browser:
    """One Chromium of a test process."""

    def __init__(self) -> None:
        path = next((found for name in NAMES if (found := shutil.which(name))), None)
        if path is None:
            pytest.skip("there is no chromium on this machine: apt install chromium-headless-shell")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="browser", daemon=True)
        self._thread.start()
        self._playwright, self.chromium = self._run(self._launch(path))

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_S)

    async def _launch(self, path: str) -> tuple[Any, Any]:
        playwright = await async_playwright().start()
        return playwright, await playwright.chromium.launch(executable_path=path, args=[ONE_RENDERER])

    def context(self, **options: Any) -> CallableHere:
        """A fresh profile: no cookies, nothing stored."""
        context = CallableHere(self._run(self.chromium.new_context(**options)), self._loop)
        context.set_default_timeout(LIMIT_S * 1000)
        return context

    def close(self) -> None:
        self._run(self.chromium.close())
        self._run(self._playwright.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()


def inaccessible(page: CallableHere) -> list[str]:
    """What axe finds wrong with a page, by light and by dark."""
    found = []
    page.evaluate(AXE)
    for scheme, options in (("dark", ALL_RULES), ("light", ALL_RULES | {"runOnly": RULES_OF_COLOURS})):
        page.emulate_media(color_scheme=scheme)
        for rule in page.evaluate("options => axe.run(options).then(found => found.violations)", options):
            found += [f"{scheme}: {rule['id']}: {node['html']:.200}" for node in rule["nodes"]]
    return found
