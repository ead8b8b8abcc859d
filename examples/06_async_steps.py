"""Async steps and the async engine: hundreds of runs wait for the network at the same time."""

import asyncio
import time

from attrs import define

from stepflow import AsyncEngine, named


@define
class Page:
    url: str
    words: int = 0


async def fetch(page: Page) -> None:
    await asyncio.sleep(0.05)  # the network
    page.words = len(page.url)


def index(page: Page) -> None:  # sync steps may be mixed with async ones; they run in threads
    assert page.words


page_flow = named("crawl.v1", Page).do("fetch", fetch).do("index", index).compile()


async def main() -> None:
    async with AsyncEngine("sqlite:///crawl.db", concurrency=200) as engine:
        engine.register(page_flow)
        runs = [await engine.start(page_flow, Page(f"https://example.org/{n}")) for n in range(200)]
        begin = time.perf_counter()
        async with engine.worker():  # advances runs in the background
            pages = await asyncio.gather(*(run.result(timeout=60) for run in runs))
        took = time.perf_counter() - begin
        print(f"{len(pages)} pages, {sum(page.words for page in pages)} words")
        print(f"one after the other it takes 10 s; this took {took:.1f} s")


asyncio.run(main())
