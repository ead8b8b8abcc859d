"""Work that blocks for long is done in threads that keep no process from its end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

from stepflow.engine.threads.futures import off_loop
from tests.engine.test_cancel import WAIT_S

HANGS = """
import asyncio, threading
from stepflow.engine.threads.futures import off_loop

async def main():
    begun = threading.Event()
    def hang():
        begun.set()
        threading.Event().wait()
    work = asyncio.ensure_future(off_loop(hang))
    while not begun.is_set():
        await asyncio.sleep(0)
    work.cancel()

asyncio.run(main())
print("over")
"""


def test_work_that_hangs_keeps_no_process():
    """The threads of asyncio are joined at the end of the loop, and of the process: a pruning whose server is silent kept a worker."""
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (ended.returncode, ended.stdout) == (0, "over\n"), ended.stderr


def test_the_thread_has_ended_when_its_answer_is_there():
    async def main() -> list[str]:
        loop, go_on = asyncio.get_running_loop(), threading.Event()
        post = loop.call_soon_threadsafe

        def post_and_stay(fn: Any, *args: Any) -> None:
            post(fn, *args)
            go_on.wait(0.05)

        loop.call_soon_threadsafe = post_and_stay  # type: ignore[assignment, method-assign]
        assert await off_loop(lambda: 7) == 7
        return [thread.name for thread in threading.enumerate() if thread.name == "stepflow-off-loop"]

    assert asyncio.run(main()) == []
