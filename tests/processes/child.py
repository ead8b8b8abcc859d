"""What a process of the tests does: `python -m tests.processes.child VERB '{"url": ..., "flows": [...]}'`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

from stepflow import AsyncEngine, Engine, StepflowError
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.engine import async_engine, session
from stepflow.engine.commit.group import GroupCommitter
from stepflow.engine.execution import attempt
from stepflow.engine.membership import failure_detector
from stepflow.engine.worker import worker
from tests.processes import flows as definitions
from tests.processes import paying, payments, shop
from tests.processes.flows import Count, report

# Long waits of the engine that a test may shorten by an option of the same name.
CONSTANTS = {
    "SILENCE_S": (failure_detector,),
    "GRACE_S": (session, async_engine),
    "BLOCKED_RETRY": (attempt,),
    "FULL_LOOK_S": (worker,),
    "MAX_SLEEP_S": (worker,),
}


def opened(options: dict[str, Any]) -> Engine:
    store: Any = options["url"]
    if lock_timeout_s := options.get("lock_timeout_s"):
        store = SqliteDriver(store.removeprefix("sqlite:///"), lock_timeout_s=lock_timeout_s)
    if (limit_s := options.get("transaction_limit_s")) and store.startswith("sqlite"):
        store = SqliteDriver(store.removeprefix("sqlite:///"))
        store.transaction_limit_s = limit_s
    engine = Engine(store, concurrency=options.get("concurrency", 64))
    engine.register(*chosen(options))
    return engine


def chosen(options: dict[str, Any]) -> list[Any]:
    return [
        next(getattr(m, name) for m in (definitions, shop, payments, paying) if hasattr(m, name))
        for name in options["flows"]
    ]


def until_idle(options: dict[str, Any]) -> None:
    with opened(options) as engine:
        report("open")
        idle = engine.run_until_idle()
    report("idle", note=[idle.completed, idle.failed, idle.waiting])


def killed_in_a_rewind(options: dict[str, Any]) -> None:
    """SIGKILL instead of the commit behind so many others, of the rewind of a run."""
    write, left = GroupCommitter._results, options["commits"]

    def counted(*args: Any) -> Any:
        nonlocal left
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return write(*args)

    GroupCommitter._results = counted  # type: ignore[method-assign]
    with opened(options) as engine:
        engine.get(options["run"]).rewind(step=options["step"])
    report("rewound")


def report_ready() -> None:
    """Report as soon as SIGTERM has a handler: before that it would kill the process."""

    def wait() -> None:
        pause = threading.Event()
        while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            pause.wait(0.002)
        report("ready")

    threading.Thread(target=wait, daemon=True).start()


def forever(options: dict[str, Any]) -> None:
    with opened(options) as engine:
        report_ready()
        engine.run_forever()
    report("over")


def aforever(options: dict[str, Any]) -> None:
    async def work() -> None:
        async with AsyncEngine(options["url"], concurrency=options.get("concurrency", 64)) as engine:
            engine.register(*chosen(options))
            report_ready()
            await engine.run_forever()
        report("over")

    asyncio.run(work())


def signalled_early(options: dict[str, Any]) -> None:
    """SIGTERM while `run_forever` still prepares its work."""

    async def work() -> None:
        async with AsyncEngine(options["url"]) as engine:
            engine.register(*chosen(options))
            forever = asyncio.create_task(engine.run_forever())
            await asyncio.sleep(0)
            os.kill(os.getpid(), signal.SIGTERM)
            await forever

    asyncio.run(work())


def signalled_at_once(options: dict[str, Any]) -> None:
    """SIGTERM as soon as there is a handler for it, in many rounds."""

    def send() -> None:
        while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    sys.setswitchinterval(1e-6)
    with opened(options) as engine:
        for _ in range(30):
            threading.Thread(target=send).start()
            engine.run_forever()


def signalled_elsewhere(options: dict[str, Any]) -> None:
    """SIGTERM is handed to a thread that is not the main one, as the system may do."""
    with opened(options) as engine:

        def send() -> None:
            while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                pass
            engine.tally()  # by now the main thread waits
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

        threading.Thread(target=send).start()
        engine.run_forever()


def left_at_once(options: dict[str, Any]) -> None:
    """A worker whose body ends before it began."""
    with opened(options) as engine, engine.worker():
        pass


def use_after_fork(options: dict[str, Any]) -> None:
    """The child of a fork tries what it must not; its parent then does the work."""
    with opened(options) as engine:
        run = engine.start(definitions.sync_chain, Count(), id="run")
        if (child := os.fork()) == 0:
            for use in (run.info, engine.run_until_idle, engine.tally, lambda: run.publish("x")):
                refused(use)
            return
        assert os.waitpid(child, 0)[1] == 0
        with engine.worker():
            run.result(60)
        report("still mine", note=["running", 0, 0])


async def _ause_after_fork(options: dict[str, Any]) -> None:
    async with AsyncEngine(options["url"]) as engine:
        engine.register(*chosen(options))
        run = await engine.start(definitions.sync_chain, Count(), id="run")
        if (child := os.fork()) == 0:
            for use in (run.info, engine.run_until_idle, engine.tally, lambda: run.publish("x")):
                try:
                    await use()
                except StepflowError as error:
                    report("refused", note=str(error))
            os._exit(0)  # an event loop that was inherited must not be closed: it is the parent's
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
        async with engine.worker():
            await run.result(60)
        report("still mine", note=["running", 0, 0])


def ause_after_fork(options: dict[str, Any]) -> None:
    asyncio.run(_ause_after_fork(options))


def refused(use: Any) -> None:
    try:
        use()
    except StepflowError as error:
        report("refused", note=str(error))


def interrupted(options: dict[str, Any]) -> None:
    """`run_until_idle` is cancelled at random moments, then done to the end on the same engine."""

    async def work() -> None:
        chance, times = random.Random(3), 0
        async with AsyncEngine(options["url"]) as engine:
            engine.register(*chosen(options))
            while (await engine.tally())["async_chain"].get("completed", 0) < 200:
                with suppress(TimeoutError):
                    await asyncio.wait_for(engine.run_until_idle(), chance.random() * 0.2)
                times += 1
            await engine.run_until_idle()
            assert (await engine.tally())["async_chain"] == {"completed": 300}
        report("interrupted", note=times)

    asyncio.run(work())


VERBS = {
    verb.__name__: verb
    for verb in (
        until_idle,
        killed_in_a_rewind,
        forever,
        aforever,
        signalled_early,
        signalled_at_once,
        signalled_elsewhere,
        left_at_once,
        use_after_fork,
        ause_after_fork,
        interrupted,
    )
}


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    verb, options = sys.argv[1], json.loads(sys.argv[2])
    for name, modules in CONSTANTS.items():
        if name in options:
            for module in modules:
                setattr(module, name, options[name])
    report("born")
    VERBS[verb](options)


if __name__ == "__main__":
    main()
