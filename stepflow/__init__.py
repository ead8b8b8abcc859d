"""Durable workflows in plain Python: runs that finish, whatever happens to the process. The public door, nothing else.

A name is loaded when it is first used, so that a program that only applies chains does not pay for engines.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepflow.drivers.memory import MemoryDriver
    from stepflow.drivers.payload.stages import Fernet, Offload, Stage, Zlib
    from stepflow.drivers.port.background import TaskHealth
    from stepflow.engine.async_engine import AsyncEngine, Idle
    from stepflow.engine.blocking.engine import Engine
    from stepflow.engine.blocking.flow_engine import FlowEngine
    from stepflow.engine.blocking.run import Run
    from stepflow.engine.blocking.schedule import Schedule
    from stepflow.engine.blocking.states import SyncWatch
    from stepflow.engine.client.bulk import Affected
    from stepflow.engine.client.filters import Page, RunFilter
    from stepflow.engine.client.info import HistoryEntry, RunError, RunInfo
    from stepflow.engine.client.pauses import PausedFlow
    from stepflow.engine.client.run import AsyncRun
    from stepflow.engine.client.schedule import AsyncSchedule, ScheduleInfo
    from stepflow.engine.client.timeline import TimelineEntry
    from stepflow.engine.flow_engine import AsyncFlowEngine
    from stepflow.engine.health import Health
    from stepflow.engine.instrument.telemetry import OpenTelemetry
    from stepflow.engine.states.function_runner import Conflict, Delayed, Done, Parked
    from stepflow.engine.states.watch import Watch
    from stepflow.errors import (
        CallLost,
        Cancelled,
        CodecError,
        Corrupt,
        DefinitionError,
        Full,
        LostClaim,
        NeedsEngine,
        NotFound,
        OutcomeUnknown,
        ReadOnly,
        RemoteFailed,
        ReplayMismatch,
        ResultTimeout,
        RevisionsLost,
        RevMismatch,
        RunCancelled,
        RunEnded,
        RunExists,
        RunFailed,
        SchemaMismatch,
        StepFailed,
        StepflowError,
        Stopping,
        StoreError,
        StoreReplaced,
        Terminal,
        TimedOut,
        TooLarge,
        Unavailable,
        UnknownFlow,
        UnknownState,
    )
    from stepflow.model.blocked import Blocked
    from stepflow.model.commands import (
        Command,
        Execute,
        GetData,
        GetDelayedStates,
        GetStateByID,
        GetStateByLabels,
        GetStates,
        Noop,
        Stack,
        StoreData,
        Unstack,
        commit,
        delay,
        park,
        transit,
    )
    from stepflow.model.ctx import StateCtx
    from stepflow.model.current import Current, current
    from stepflow.model.function import flow
    from stepflow.model.lifecycle import Status
    from stepflow.model.limits import Limit
    from stepflow.model.retry import RetryPolicy
    from stepflow.model.run_key import RunKey
    from stepflow.model.state import State, Transition
    from stepflow.replay import AsyncContext, ChildHandle, Context, Failed, First, Ok, Workflow, workflow
    from stepflow.steps import StepFlow, Steps, named

__version__ = "0.1.0"

_HOME = {
    "stepflow.drivers.memory": "MemoryDriver",
    "stepflow.drivers.payload.stages": "Fernet Offload Stage Zlib",
    "stepflow.drivers.port.background": "TaskHealth",
    "stepflow.engine.async_engine": "AsyncEngine Idle",
    "stepflow.engine.health": "Health",
    "stepflow.engine.instrument.telemetry": "OpenTelemetry",
    "stepflow.engine.flow_engine": "AsyncFlowEngine",
    "stepflow.engine.blocking.flow_engine": "FlowEngine",
    "stepflow.engine.blocking.engine": "Engine",
    "stepflow.engine.states.function_runner": "Conflict Delayed Done Parked",
    "stepflow.engine.client.run": "AsyncRun",
    "stepflow.engine.client.pauses": "PausedFlow",
    "stepflow.engine.client.schedule": "AsyncSchedule ScheduleInfo",
    "stepflow.engine.blocking.run": "Run",
    "stepflow.engine.blocking.schedule": "Schedule",
    "stepflow.engine.blocking.states": "SyncWatch",
    "stepflow.engine.client.bulk": "Affected",
    "stepflow.engine.client.filters": "Page RunFilter",
    "stepflow.engine.client.info": "HistoryEntry RunError RunInfo",
    "stepflow.engine.client.timeline": "TimelineEntry",
    "stepflow.engine.states.watch": "Watch",
    "stepflow.errors": "CallLost Cancelled CodecError Corrupt DefinitionError Full LostClaim NeedsEngine NotFound OutcomeUnknown ReadOnly RemoteFailed ReplayMismatch ResultTimeout RevMismatch RevisionsLost RunCancelled RunEnded RunExists RunFailed SchemaMismatch StepFailed StepflowError Stopping StoreError StoreReplaced Terminal TimedOut TooLarge Unavailable UnknownFlow UnknownState",
    "stepflow.model.blocked": "Blocked",
    "stepflow.model.commands": "Command Execute GetData GetDelayedStates GetStateByID GetStateByLabels GetStates Noop Stack StoreData Unstack commit delay park transit",
    "stepflow.model.ctx": "StateCtx",
    "stepflow.model.current": "Current current",
    "stepflow.model.function": "flow",
    "stepflow.model.lifecycle": "Status",
    "stepflow.model.limits": "Limit",
    "stepflow.model.retry": "RetryPolicy",
    "stepflow.model.run_key": "RunKey",
    "stepflow.model.state": "State Transition",
    "stepflow.replay": "AsyncContext ChildHandle Context Failed First Ok Workflow workflow",
    "stepflow.steps": "StepFlow Steps named",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "Affected",
    "AsyncContext",
    "AsyncEngine",
    "AsyncFlowEngine",
    "AsyncRun",
    "AsyncSchedule",
    "Blocked",
    "CallLost",
    "Cancelled",
    "ChildHandle",
    "CodecError",
    "Command",
    "Conflict",
    "Context",
    "Corrupt",
    "Current",
    "DefinitionError",
    "Delayed",
    "Done",
    "Engine",
    "Execute",
    "Failed",
    "Fernet",
    "First",
    "FlowEngine",
    "Full",
    "GetData",
    "GetDelayedStates",
    "GetStateByID",
    "GetStateByLabels",
    "GetStates",
    "Health",
    "HistoryEntry",
    "Idle",
    "Limit",
    "LostClaim",
    "MemoryDriver",
    "NeedsEngine",
    "Noop",
    "NotFound",
    "Offload",
    "Ok",
    "OpenTelemetry",
    "OutcomeUnknown",
    "Page",
    "Parked",
    "PausedFlow",
    "ReadOnly",
    "RemoteFailed",
    "ReplayMismatch",
    "ResultTimeout",
    "RetryPolicy",
    "RevMismatch",
    "RevisionsLost",
    "Run",
    "RunCancelled",
    "RunEnded",
    "RunError",
    "RunExists",
    "RunFailed",
    "RunFilter",
    "RunInfo",
    "RunKey",
    "Schedule",
    "ScheduleInfo",
    "SchemaMismatch",
    "Stack",
    "Stage",
    "State",
    "StateCtx",
    "Status",
    "StepFailed",
    "StepFlow",
    "StepflowError",
    "Steps",
    "Stopping",
    "StoreData",
    "StoreError",
    "StoreReplaced",
    "SyncWatch",
    "TaskHealth",
    "Terminal",
    "TimedOut",
    "TimelineEntry",
    "TooLarge",
    "Transition",
    "Unavailable",
    "UnknownFlow",
    "UnknownState",
    "Unstack",
    "Watch",
    "Workflow",
    "Zlib",
    "commit",
    "current",
    "delay",
    "flow",
    "named",
    "park",
    "transit",
    "workflow",
]


if not TYPE_CHECKING:  # type checkers know the names above, and refuse others

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'stepflow' has no attribute {name!r}")
        value = getattr(import_module(_MODULE_OF[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
