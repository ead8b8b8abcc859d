"""StoreTarget: the store of a verb, from its options or the environment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from attrs import frozen

from stepflow.cli.definitions import stages_of
from stepflow.cli.output import Output
from stepflow.cli.values import duration
from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.port.store import Driver
from stepflow.drivers.registry import driver_for
from stepflow.engine.async_engine import AsyncEngine
from stepflow.errors import StoreError

T = TypeVar("T")


@frozen
class StoreTarget:
    """A store URL and a namespace; `out` prints as text or JSON."""

    store: str
    namespace: str
    out: Output
    payload: list[Any] | None = None

    def run(self, work: Callable[[AsyncEngine], Awaitable[T]], *, create: bool = False, **options: Any) -> T:
        """Open an engine with `options`, await `work(engine)`, close it. Without `create` a missing file is an error."""
        if not self.store:
            raise _missing()
        driver = driver_for(self.store)  # a wrong URL fails before a loop is started
        if isinstance(driver, MemoryDriver):
            raise click.UsageError(
                f"{self.store} is empty and would be lost at the end of this command: give e.g. sqlite:///orders.db"
            )
        if not create:
            must_exist(driver)

        async def session() -> T:
            engine_of = partial(AsyncEngine, driver, namespace=self.namespace, payload=self.payload, **options)
            async with engine_of(commit_on_loop=True) as engine:  # the loop is this command's own
                return await work(engine)

        return asyncio.run(session())


def must_exist(driver: Driver) -> None:
    """Raises StoreError when the file or directory of the store does not exist: reading must not create it."""
    path = getattr(driver, "path", None)
    if isinstance(path, Path) and not path.exists():
        raise StoreError(f"there is no store at {path}: check --store, or start a run to create it")


def with_store(fn: Callable[..., Any] | None = None, *, needed: bool = True) -> Callable[..., Any]:
    """Adds `--store`, `--namespace` and `--json`; the verb gets a StoreTarget as its first argument.

    With `needed=False` the store may be left out; `store` is empty then.
    """
    if fn is None:
        return lambda verb: with_store(verb, needed=needed)

    @click.option(
        "--store", envvar="STEPFLOW_STORE", metavar="URL", help="e.g. sqlite:///orders.db  [env: STEPFLOW_STORE]"
    )
    @click.option("--namespace", envvar="STEPFLOW_NAMESPACE", default="", help="Set of runs  [env: STEPFLOW_NAMESPACE]")
    @click.option(
        "--payload",
        "stages",
        envvar="STEPFLOW_PAYLOAD",
        metavar="MODULE:NAME",
        help="List of payload stages, as of Engine(payload=)  [env: STEPFLOW_PAYLOAD]",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @wraps(fn)
    def verb(*args: Any, store: str | None, namespace: str, stages: str | None, as_json: bool, **options: Any) -> Any:
        if needed and not store:
            raise _missing()
        payload = None if stages is None else stages_of(stages)
        return fn(StoreTarget(store or "", namespace, Output(as_json), payload), *args, **options)

    return verb


def _missing() -> click.UsageError:
    hint = "; there is a demo.db here: --store sqlite:///demo.db" if Path("demo.db").exists() else ""
    return click.UsageError(f"no store given: add --store sqlite:///orders.db or set STEPFLOW_STORE{hint}")


def keep_ids_option(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--keep-ids`, for the verbs that prune."""
    return click.option(
        "--keep-ids",
        type=duration,
        metavar="DURATION",
        help="Refuse the id of a deleted run for this long: the keep_ids= of the other processes.  [default: not at all]",
    )(fn)
