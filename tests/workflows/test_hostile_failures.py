"""Whatever a step or the code between the calls raises, the run fails with that error, and the worker goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stepflow import AsyncContext, Context, Engine, MemoryDriver, RetryPolicy, workflow
from stepflow.testing import VirtualClock


def raises(name: str) -> Any:
    def raising(*_args: Any) -> Any:
        raise KeyError(name)

    return raising


def hostile(name: str, attribute: Any) -> type[Exception]:
    """A class of exceptions with such an attribute; steps find it here by its name."""
    found = type(name, (Exception,), {name: attribute, "__qualname__": f"Hostile_{name}", "__module__": __name__})
    globals()[found.__qualname__] = found
    return found


METHODS = ("__getattribute__", "__str__", "__repr__", "__hash__", "__eq__", "__bool__", "__setattr__", "__reduce_ex__")
PROPERTIES = (
    "args",
    "__class__",
    "__dict__",
    "__cause__",
    "__context__",
    "__traceback__",
    "__notes__",
    "with_traceback",
)


class LateStop(StopIteration):
    pass


class LateAsyncStop(StopAsyncIteration):
    pass


class OwnCancel(asyncio.CancelledError):
    pass


class Stopped(BaseException):
    pass


EXCEPTIONS: list[type[BaseException]] = [
    *[hostile(name, raises(name)) for name in METHODS],
    *[hostile(name, property(raises(name))) for name in PROPERTIES],
    StopIteration,
    LateStop,
    StopAsyncIteration,
    LateAsyncStop,
    RuntimeError,
]
OTHERS: list[type[BaseException]] = [asyncio.CancelledError, OwnCancel, GeneratorExit, SystemExit, Stopped]
Made = Callable[[type[BaseException]], Any]


def one() -> int:
    return 1


async def aone() -> int:
    return 1


def _step(kind: type[BaseException]) -> Callable[..., int]:
    def step(*_items: int) -> int:
        raise kind

    return step


def _astep(kind: type[BaseException], *, late: bool = False) -> Callable[..., Any]:
    async def step(*_items: int) -> int:
        if late:
            await asyncio.sleep(0)
        raise kind

    return step


def in_a_step(kind: type[BaseException]) -> Any:
    return lambda wf: wf.execute("a", _step(kind))


def in_a_step_that_is_retried(kind: type[BaseException]) -> Any:
    return lambda wf: wf.execute("a", _step(kind), retry=RetryPolicy(max_attempts=2, delay=1))


def in_the_code(kind: type[BaseException]) -> Any:
    return lambda wf: _step(kind)(wf.execute("a", one))


def in_an_item(kind: type[BaseException]) -> Any:
    def code(wf: Context) -> None:
        raise wf.map("m", _step(kind), [1])[0].error  # type: ignore[union-attr]

    return code


def in_an_async_step(kind: type[BaseException]) -> Any:
    async def code(wf: AsyncContext) -> int:
        return int(await wf.execute("a", _astep(kind)))

    return code


def in_a_sync_step_of_async_code(kind: type[BaseException]) -> Any:
    async def code(wf: AsyncContext) -> int:
        return await wf.execute("a", _step(kind))

    return code


def in_the_async_code(kind: type[BaseException]) -> Any:
    async def code(wf: AsyncContext) -> int:
        return _step(kind)(await wf.execute("a", one))

    return code


def in_the_first_branch(kind: type[BaseException]) -> Any:
    async def code(wf: AsyncContext) -> Any:
        return await wf.gather(wf.execute("a", _astep(kind)), wf.execute("b", aone), wf.execute("c", one))

    return code


def in_a_later_branch(kind: type[BaseException]) -> Any:
    async def code(wf: AsyncContext) -> Any:
        return await wf.gather(wf.execute("b", aone), wf.execute("a", _astep(kind, late=True)), wf.execute("c", one))

    return code


def in_the_code_of_a_branch(kind: type[BaseException]) -> Any:
    async def code(wf: AsyncContext) -> Any:
        return await wf.gather(_astep(kind)(), wf.execute("b", aone), wf.execute("c", one))

    return code


PLACES: list[Made] = [
    in_a_step,
    in_a_step_that_is_retried,
    in_the_code,
    in_an_async_step,
    in_a_sync_step_of_async_code,
    in_the_async_code,
    in_the_first_branch,
    in_a_later_branch,
    in_the_code_of_a_branch,
]


def outcomes(place: Made, kinds: list[type[BaseException]]) -> dict[str, tuple[str, str]]:
    """By the name of what is raised: how its run ended, and the type of its error."""
    found: dict[str, tuple[str, str]] = {}
    with Engine(MemoryDriver(), clock=VirtualClock()) as engine:
        for kind in kinds:
            code = place(kind)
            if asyncio.iscoroutinefunction(code):

                async def run(wf: AsyncContext, code: Any = code) -> Any:
                    return await code(wf)
            else:

                def run(wf: Context, code: Any = code) -> Any:  # type: ignore[misc]
                    return code(wf)

            flow: Any = workflow(f"w/{kind.__qualname__}")(run)
            engine.register(flow)
            handle = engine.start(flow)
            engine.run_until_idle(advance=True)
            info = handle.info()
            found[kind.__qualname__] = (str(info.status), "" if info.error is None else info.error.type)
    return found


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_run_fails_with_what_was_raised(place: Made) -> None:
    kinds = [*EXCEPTIONS, *OTHERS]
    assert outcomes(place, kinds) == {kind.__qualname__: ("failed", kind.__qualname__) for kind in kinds}


def test_an_item_of_a_map_fails_with_what_it_raised() -> None:
    found = outcomes(in_an_item, [*EXCEPTIONS, *OTHERS])
    assert found == {kind.__qualname__: ("failed", kind.__qualname__) for kind in EXCEPTIONS} | {
        kind.__qualname__: ("failed", "RuntimeError") for kind in OTHERS
    }


def test_a_workflow_sees_the_same_error_at_first_and_at_a_replay() -> None:
    seen: list[str] = []

    def caught(kind: type[BaseException]) -> Any:
        def code(wf: Context) -> str:
            try:
                wf.execute("a", _step(kind))
            except Exception as error:
                seen.append(type(error).__qualname__)
            wf.sleep("s", 1)
            return ""

        return code

    ended = outcomes(caught, EXCEPTIONS)
    assert set(ended.values()) == {("completed", "")}
    assert seen[::2] == seen[1::2]
    assert {kind.__qualname__ for kind in EXCEPTIONS if not kind.__qualname__.startswith("Hostile")} <= set(seen)


def test_a_branch_that_goes_on_after_its_call_was_cancelled_blocks_the_run() -> None:
    def swallows(kind: type[BaseException]) -> Any:
        async def branch(wf: AsyncContext) -> int:
            try:
                return int(await wf.execute("a", _astep(kind)))
            except BaseException:
                return await wf.execute("b", one)

        async def code(wf: AsyncContext) -> Any:
            return await wf.gather(branch(wf), wf.execute("c", one))

        return code

    assert outcomes(swallows, [asyncio.CancelledError]) == {"CancelledError": ("blocked", "")}


def test_a_RuntimeError_of_a_generator_of_the_step_is_that() -> None:  # noqa: N802
    def stops(_kind: type[BaseException]) -> Any:
        def items() -> Any:
            yield next(iter(()))

        return lambda wf: wf.execute("a", lambda: next(items()))

    assert outcomes(stops, [RuntimeError]) == {"RuntimeError": ("failed", "RuntimeError")}
