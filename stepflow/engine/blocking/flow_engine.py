# Generated from stepflow/engine/flow_engine.py by `make generate`: do not edit.
# ruff: noqa: A002 - the names of parameters are those of the async face
"""FlowEngine: the blocking face of AsyncFlowEngine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

from stepflow.engine.blocking.flow_engine_base import FlowEngineBase
from stepflow.engine.blocking.run import Run
from stepflow.engine.client.info import RunInfo
from stepflow.engine.client.start import DEDUP_WINDOW
from stepflow.model.flow import Flow
from stepflow.model.limits import Limit

In = TypeVar("In")
Out = TypeVar("Out")


class FlowEngine(FlowEngineBase):
    """The engine that a flow function receives; Engine has the same methods."""

    def start(
        self,
        flow: Flow[In, Out],
        exchange: In | None = None,
        *,
        id: str | None = None,
        labels: Mapping[str, str] | None = None,
        at: datetime | None = None,
        priority: int = 0,
        limits: Limit | Iterable[Limit] = (),
        dedup_key: str | None = None,
        dedup_window: timedelta | float = DEDUP_WINDOW,
        tx: Any = None,
    ) -> Run[Out]:
        """Create a durable run; it is stored when this returns. Starting the same id again returns the same run.

        `at` delays the first step. A lower `priority` goes first.
        `limits` say how many runs may share a key. The same `dedup_key` of a flow again within `dedup_window` (seconds or
        timedelta) starts nothing and returns the run that was started with it. A run that ended is deleted after the
        engine's `keep` (30 days): the same id then starts a new run, whose steps are done again, unless `keep_ids` refuses it
        (RunExists). With `tx`, the caller's open transaction on the same store, the run begins
        to exist when that transaction commits. Raises RunExists if the id belongs to another flow or input, CodecError or TooLarge for an
        exchange that cannot be stored.
        """
        return self._blocking_run(
            self._call_tx(
                tx,
                self._verbs.start(
                    flow,
                    exchange,
                    id=id,
                    labels=labels,
                    at=at,
                    priority=priority,
                    limits=limits,
                    dedup_key=dedup_key,
                    dedup_window=dedup_window,
                    tx=tx,
                ),
            )
        )

    def start_many(
        self,
        flow: Flow[In, Out],
        runs: Iterable[tuple[str | None, In | None]],
        *,
        labels: Mapping[str, str] | None = None,
        at: datetime | None = None,
        priority: int = 0,
        limits: Limit | Iterable[Limit] = (),
        tx: Any = None,
    ) -> list[Run[Out]]:
        """Start a run for each (id, exchange), id None for a new one, in as few transactions as they fit into; in order.

        All of them are stored when this returns; if the process dies before, some may be. With `tx`, the caller's open
        transaction on the same store, they begin to exist when that commits. Raises what `start` raises: for an
        exchange that cannot be stored before anything is started, RunExists for an id of another input after all others were.
        """
        found = self._call_tx(
            tx, self._verbs.start_many(flow, runs, labels=labels, at=at, priority=priority, limits=limits, tx=tx)
        )
        return [self._blocking_run(one) for one in found]

    @overload
    def get(self, flow: str, id: None = None) -> Run[Any]: ...
    @overload
    def get(self, flow: Flow[Any, Out], id: str) -> Run[Out]: ...
    def get(self, flow: Flow[Any, Any] | str, id: str | None = None) -> Run[Any]:
        """A handle on a run by its id, `get("order-42")`, or typed, `get(order_flow, "order-42")`; no I/O."""
        return self._blocking_run(self._verbs.get(flow, id))  # type: ignore[arg-type]  # the overloads decide

    def runs(
        self,
        *,
        flow: str | None = None,
        status: str | Iterable[str] | None = None,
        open: bool | None = None,
        labels: Mapping[str, str] | None = None,
        parent: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> list[RunInfo]:
        """Runs, the newest first; `after` is the last id of the page before.

        `status` is one status or several; `open=True` leaves out the runs that have ended, `open=False` all others.
        `parent` asks for the direct children of that run.
        """
        return self._call(
            self._verbs.runs(
                flow=flow, status=status, open=open, labels=labels, parent=parent, limit=limit, after=after
            )
        )

    def broadcast(self, labels: Mapping[str, str], name: str, payload: Any = None, *, id: str | None = None) -> int:
        """Publish an event to every run that has all of these labels and has not ended; how many these are.

        It reaches every such run that exists when the last of its commits is made; each has the event for itself, as by `run.publish`. Runs that are started
        later do not get it. If the process dies meanwhile, some may have it: repeat the call with the same `id`, and each run gets it once.
        """
        return self._call(self._verbs.broadcast(labels, name, payload, id=id))

    def tally(self, *, labels: Mapping[str, str] | None = None) -> dict[str, dict[str, int]]:
        """How many runs there are: `{"order": {"completed": 12, "waiting": 3}}`.

        With `labels` only those that have all of them, which are read one after another.
        """
        return self._call(self._verbs.tally(labels=labels))
