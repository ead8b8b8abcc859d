"""What the reference shows of each public name: a griffe extension, by which mkdocstrings leaves out internals and adds constructors."""

from __future__ import annotations

import inspect
from enum import Enum
from typing import Any

import attrs
import griffe

import stepflow
from stepflow import errors


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# Users never call the constructors of these: an engine, a decorator or `compile` makes them.
MADE = words(
    "Run AsyncRun Schedule AsyncSchedule FlowEngine AsyncFlowEngine Watch SyncWatch Workflow StepFlow Context AsyncContext Current RunInfo RunError"
    " HistoryEntry TimelineEntry Idle Health TaskHealth Ok Failed Done Parked Delayed Conflict State Transition"
    " DefinitionError RunExists RevMismatch RunFailed RunEnded StepFailed RemoteFailed ReplayMismatch RevisionsLost"
)

ERRORS = frozenset(name for name in stepflow.__all__ if hasattr(errors, name))  # one page shows all of them

# Members without an underscore that other modules of stepflow use, and users do not.
INTERNAL = {
    "Workflow": "kind codec result_codec options definition inline waits events transacted given cancel_grace_s fn is_async input call"
    " first resume waits_at step_path event_problem available payload_type atomic refuse_types",
    "StepFlow": "kind codec result_codec options inline waits events refuse_exchange refuse_types first resume waits_at step_path event_problem available payload_type picture",
    "Steps": "chain of",
    "Limit": "per_us wider",
    "RetryPolicy": "allows covers delay_s",
    "Transition": "text polls plain parse with_notes",
    "StateCtx": "of reset move transitions datas",
    "Current": "step_calls running",
    "VirtualClock": "virtual follows_store adjust waited subscribe unsubscribe",
}


def is_internal(name: str, member: str) -> bool:
    """Whether the reference does not show this member of a public name."""
    return member.startswith("_") or member in words(INTERNAL.get(name, ""))


class PublicNames(griffe.Extension):
    """Changes what griffe found in the source to what the reference shows."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Called once, when the whole package is read."""
        if pkg.path != "stepflow":
            return
        pkg.set_member("workflow", griffe.Alias("workflow", pkg["replay.workflow"].members["workflow"]))
        for name in stepflow.__all__:
            self._show(name, pkg[stepflow._MODULE_OF[name].removeprefix("stepflow.")].members[name])
        self._show("VirtualClock", pkg["engine.clock.VirtualClock"])
        for name in set(pkg["errors"].members) - set(stepflow.__all__):
            del pkg["errors"].members[name]

    def _show(self, name: str, shown: Any) -> None:
        shown = shown.final_target if shown.is_alias else shown
        if shown.is_function:
            resolve_defaults(shown)
        if not shown.is_class:
            return
        value = getattr(stepflow, name, None)
        for member in [key for key in shown.all_members if is_internal(name, key) and key != "__init__"]:
            shown.members.pop(member, None)
        if name in MADE:
            for one in (shown, *shown.mro()):
                one.members.pop("__init__", None)
        elif isinstance(value, type) and attrs.has(value):
            shown.set_member("__init__", constructor(value))
        for member in shown.members.values():
            if member.is_function:
                resolve_defaults(member)
            elif member.is_attribute and not issubclass(value or object, Enum):
                member.value, member.labels = (
                    None,
                    member.labels & {"property", "cached"},
                )  # the constructor has the defaults


def constructor(cls: type) -> griffe.Function:
    """The `__init__` that attrs made."""
    parameters = [
        griffe.Parameter(
            p.name,
            annotation=str(p.annotation),
            kind=griffe.ParameterKind[p.kind.name.lower()],
            default=None if p.default is p.empty else default_text(p.default),
        )
        for p in inspect.signature(cls).parameters.values()
    ]
    return griffe.Function("__init__", parameters=griffe.Parameters(*parameters), returns="None")


def default_text(value: object) -> str:
    """A default as a program writes it."""
    if value is attrs.NOTHING:
        return "..."
    if isinstance(value, type):
        return value.__name__
    if value == {} or type(value).__name__ == "mappingproxy":
        return "{}"
    return repr(value).removeprefix("datetime.")


def resolve_defaults(function: griffe.Function) -> None:
    """Show the value of a constant that is a default, e.g. `timedelta(days=30)` for `DEFAULT_KEEP`."""
    for parameter in function.parameters:
        name = str(parameter.default)
        if parameter.default is not None and name.isidentifier() and name.isupper():
            found = function.modules_collection[function.resolve(name)]
            parameter.default = (found.final_target if found.is_alias else found).value
