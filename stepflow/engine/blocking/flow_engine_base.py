"""The hand-written part of FlowEngine: blocking handles, and calls that a caller's transaction keeps in its own thread."""

from __future__ import annotations

from collections.abc import Coroutine
from types import MappingProxyType
from typing import Any, TypeVar

from stepflow.engine.blocking.base import ForwardCall, call_here
from stepflow.engine.blocking.run import Run
from stepflow.engine.blocking.states import BlockingVerbs
from stepflow.engine.client.run import AsyncRun
from stepflow.engine.flow_engine import AsyncFlowEngine
from stepflow.errors import RunExists
from stepflow.model.keywords import RUN_TIMEOUT

E = TypeVar("E")
T = TypeVar("T")


class FlowEngineBase(BlockingVerbs):
    """What of FlowEngine is no forwarding method."""

    _verbs: AsyncFlowEngine
    _instead = MappingProxyType(
        {
            "start": {
                "timeout": RUN_TIMEOUT,
                "deadline": RUN_TIMEOUT,
                "delay": "give at=, a datetime such as datetime.now(UTC) + timedelta(hours=1)",
                **dict.fromkeys(("run_id", "workflow_id", "idempotency_key"), "give id="),
                **dict.fromkeys(
                    ("input", "args", "kwargs"), "a flow has one input: give it behind the flow, start(flow, input)"
                ),
            },
            "runs": dict.fromkeys(
                (
                    "id_prefix",
                    "created_since",
                    "created_until",
                    "updated_since",
                    "updated_until",
                    "error_type",
                    "error_text",
                    "position",
                ),
                "give a RunFilter with it, runs(RunFilter(...))",
            ),
        }
    )

    def __init__(self, verbs: AsyncFlowEngine, call: ForwardCall) -> None:
        super().__init__(verbs, self._forwarded)
        self._forward = call

    def _call_tx(self, tx: Any, work: Coroutine[Any, Any, T]) -> T:
        return self._forwarded(work, call_here if tx is not None else None)

    def _forwarded(self, work: Coroutine[Any, Any, T], call: ForwardCall | None = None) -> T:
        try:
            return (call or self._forward)(work)
        except RunExists as error:
            raise RunExists(str(error), self._blocking_run(error.run)) from None

    def _blocking_run(self, run: AsyncRun[E]) -> Run[E]:
        return Run(run, self._call)
