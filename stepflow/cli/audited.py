"""audited: tells the audit of the server behind a store what a verb is about to change, and how that ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from attrs import asdict

from stepflow.cli.target import StoreTarget
from stepflow.drivers.port.notes import ChangeNote, EndNote
from stepflow.drivers.registry import driver_for
from stepflow.engine.client.filters import RunFilter
from stepflow.errors import StepflowError, StoreError
from stepflow.wire.json_form import to_json_value

SHOWN = 1000  # ids of runs in an entry
log = logging.getLogger("stepflow")


@asynccontextmanager
async def audited(
    target: StoreTarget, verb: str, kind: str, name: str = "", **arguments: Any
) -> AsyncIterator[dict[str, Any]]:
    """Around a change by the operation `verb` of the operator's API: what came of it is put into the dict that this yields.

    Of a store that no server is behind nothing is told. Raises StoreErrors, before anything is changed.
    """
    given = {key: value for key, value in arguments.items() if value is not None}
    note = ChangeNote(verb, kind, name, given)
    end = await asyncio.to_thread(driver_for(target.store).note_change, target.namespace, note)
    result: dict[str, Any] = {}
    try:
        yield result
    except BaseException as error:
        await _tell(end, error, {})
        raise
    await _tell(end, None, result)


async def _tell(end: EndNote | None, error: BaseException | None, result: Mapping[str, Any]) -> None:
    """The change has ended: a server that does not take the outcome undoes nothing."""
    try:
        if end is not None:
            await asyncio.to_thread(end, error, result)
    except StoreError as trouble:
        log.warning("the audit of the server was not told how it ended: %s", trouble)


def runs_told(runs: RunFilter | Sequence[str]) -> dict[str, Any]:
    """The runs of a verb on many, as arguments: the conditions of the filter, or the first of the ids."""
    if not isinstance(runs, RunFilter):
        return {"ids": list(runs)[:SHOWN]}
    set_ = asdict(runs, recurse=False)
    return {"filter": {name: to_json_value(_plain(one)) for name, one in set_.items() if one not in (None, {}, ())}}


def _plain(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, frozenset) else value


def refused(change: AbstractAsyncContextManager[Any], error: StepflowError) -> StepflowError:
    """Tell the audit of a change that was refused before the store was opened; returns the error."""

    async def tell() -> None:
        async with change:
            raise error

    with suppress(StepflowError):  # that of the server, if it takes no entry, says less
        asyncio.run(tell())
    return error
