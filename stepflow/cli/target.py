"""StoreTarget: the store of a verb, from its options or the environment, and the hosts that it calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from attrs import frozen

from stepflow.cli.definitions import stages_of
from stepflow.cli.extras import without_extra
from stepflow.cli.output import Output
from stepflow.cli.values import duration
from stepflow.cli.variables import names_variables
from stepflow.drivers.port.store import Driver
from stepflow.drivers.registry import driver_for
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.remote.caller import FlowCaller
from stepflow.errors import StepflowError, StoreError

T = TypeVar("T")


@frozen
class StoreTarget:
    """A store URL and a namespace; `out` prints as text or JSON."""

    store: str
    namespace: str
    out: Output
    payload: list[Any] | None = None

    @property
    def shown(self) -> str:
        """The URL without passwords and tokens: what a command prints is kept in logs."""
        return driver_for(self.store).url

    def run(self, work: Callable[[AsyncEngine], Awaitable[T]], *, create: bool = False, **options: Any) -> T:
        """Open an engine with `options`, await `work(engine)`, close it. Without `create` a missing file is an error."""
        if not self.store:
            raise _missing()
        driver = driver_for(self.store)  # a wrong URL fails before a loop is started
        if self.store.partition(":")[0] == "memory":
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
    @names_variables
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


def secret_option(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--secret-file`."""
    return click.option(
        "--secret-file",
        envvar="STEPFLOW_SECRET_FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File of the secret that hosts and callers share; of several lines the first signs, all are taken.  [env: STEPFLOW_SECRET_FILE]",
    )(fn)


def read_secrets(path: Path | None) -> list[str]:
    """The lines of the file that are not empty."""
    if path is None:
        raise click.UsageError("give --secret-file FILE: calls of hosts are signed")
    try:
        return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise StepflowError(f"--secret-file {path}: {why}") from error


def remote_hosts(hosts: Sequence[str], path: Path | None) -> FlowCaller | None:
    """What calls these hosts; None without any."""
    if not hosts:
        return None
    try:
        from stepflow.remote import RemoteHosts  # noqa: PLC0415 - optional packages
    except ImportError as error:
        raise without_extra("--remote", "remote", error) from error
    return RemoteHosts(hosts, secret=read_secrets(path))
