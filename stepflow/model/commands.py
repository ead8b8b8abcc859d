"""Commands: instructions that read and change States. They are plain values; an engine executes them.

Arguments are checked when a command is made, so that the error names the line; what a State contains, when it is executed.

`commit(...)` is the atomic unit; it may not contain Execute, GetStates, GetDelayedStates or another commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from attrs import frozen

from stepflow.errors import StepflowError
from stepflow.model.checks import (
    checked_alias,
    checked_annotation,
    checked_ctx,
    checked_id,
    checked_labels,
    checked_limit,
    checked_moment,
    checked_notes,
    checked_page,
    checked_rev,
    checked_since,
    checked_target,
    checked_when,
)
from stepflow.model.ctx import StateCtx
from stepflow.model.state import EMPTY, State


@frozen
class Transit:
    """Move a State to flow `to`."""

    ctx: StateCtx
    to: str
    annotations: Mapping[str, str] = EMPTY

    def __attrs_post_init__(self) -> None:
        checked_ctx(self.ctx)
        checked_target(self.to, "transit")
        if self.annotations:
            checked_notes(self.annotations)


@frozen
class Park:
    """Park a State: no flow advances it until a command moves it."""

    to: ClassVar[str] = ""
    ctx: StateCtx
    annotations: Mapping[str, str] = EMPTY

    def __attrs_post_init__(self) -> None:
        checked_ctx(self.ctx)
        if self.annotations:
            checked_notes(self.annotations)


@frozen
class DelayCommand:
    """Move a State, as it is now, to flow `to` later: after a duration (seconds or timedelta) or at a datetime.

    With `commit` the delay is void if the State has moved by then; without, the snapshot is executed anyway.
    """

    ctx: StateCtx
    to: str
    when: float | timedelta | datetime
    annotations: Mapping[str, str] = EMPTY
    commit: bool = True

    def __attrs_post_init__(self) -> None:
        checked_ctx(self.ctx)
        checked_target(self.to, "delay", ", when")
        checked_when(self.when)
        checked_notes(self.annotations)


@frozen
class Execute:
    """Advance an independent copy of a State in the background; returned by a flow function: continue with this State."""

    ctx: StateCtx

    def __attrs_post_init__(self) -> None:
        checked_ctx(self.ctx)


@frozen
class Noop:
    """Do nothing: the flow function made its commits itself."""


@frozen
class Stack:
    """Store a State in an annotation of `carrier`; Unstack restores it."""

    carrier: StateCtx
    stacked: StateCtx
    annotation: str

    def __attrs_post_init__(self) -> None:
        checked_ctx(self.carrier)
        checked_ctx(self.stacked)
        checked_annotation(self.annotation)


@frozen
class Unstack:
    """Restore the State in an annotation of `carrier` into `target` and remove the annotation."""

    carrier: StateCtx
    target: StateCtx
    annotation: str

    def __attrs_post_init__(self) -> None:
        checked_ctx(self.carrier)
        checked_ctx(self.target)
        checked_annotation(self.annotation)


@frozen
class StoreData:
    """Store the blob under `alias` if it changed."""

    ctx: StateCtx
    alias: str

    def __attrs_post_init__(self) -> None:
        checked_ctx(self.ctx)
        checked_alias(self.alias)


@frozen
class GetData:
    """Load the blob that the State refers to by `alias`."""

    ctx: StateCtx
    alias: str

    def __attrs_post_init__(self) -> None:
        checked_ctx(self.ctx)
        checked_alias(self.alias)


@frozen
class GetStateByID:
    """Read a State into `ctx`: revision `rev`, 0 for the newest."""

    ctx: StateCtx
    id: str
    rev: int = 0

    def __attrs_post_init__(self) -> None:
        checked_ctx(self.ctx)
        if not self.id:
            raise StepflowError("id is empty: name the State to read")
        checked_id(self.id)
        checked_rev(self.rev)


@frozen
class GetStateByLabels:
    """Read the newest revision that has all these labels into `ctx`."""

    ctx: StateCtx
    labels: Mapping[str, str]

    def __attrs_post_init__(self) -> None:
        checked_ctx(self.ctx)
        if not self.labels:
            raise StepflowError("labels are empty: name at least one, or read by id")
        checked_labels(self.labels)


@frozen
class States:
    """The result of GetStates: States in ascending order of revision, and whether more match."""

    states: tuple[State, ...]
    more: bool


@frozen
class GetStates:
    """Read many revisions: see `Engine.states`. `since_rev` is exclusive, -1 means the newest match only."""

    labels: tuple[Mapping[str, str], ...] = ()
    since_rev: int = 0
    since: datetime | None = None
    latest_only: bool = False
    limit: int = 50

    def __attrs_post_init__(self) -> None:
        for group in self.labels:
            checked_labels(group)
        checked_since(self.since_rev)
        checked_limit(self.limit)
        if self.since is not None:
            checked_moment(self.since)


@frozen
class GetDelayedStates:
    """Read delays: `since < due <= until`, offset greater than `offset`."""

    since: datetime | None = None
    until: datetime | None = None
    offset: int = 0
    limit: int = 500

    def __attrs_post_init__(self) -> None:
        for moment in (self.since, self.until):
            if moment is not None:
                checked_moment(moment)
        checked_page(self.offset, self.limit)


@frozen
class CommitCommand:
    """Execute all of these commands or none."""

    commands: tuple[Command, ...]

    def __attrs_post_init__(self) -> None:
        if not self.commands:
            raise StepflowError("no commands to commit: give commit(...) at least one")
        for command in self.commands:
            if type(command) not in INSIDE:
                raise _refusal(command)


Command = (
    Transit
    | Park
    | DelayCommand
    | Execute
    | Noop
    | Stack
    | Unstack
    | StoreData
    | GetData
    | GetStateByID
    | GetStateByLabels
    | GetStates
    | GetDelayedStates
    | CommitCommand
)

_OUTSIDE: dict[type[Any], str] = {
    CommitCommand: "commit",
    Execute: "execute",
    GetStates: "get states",
    GetDelayedStates: "get delayed states",
}
INSIDE = frozenset(Command.__args__) - frozenset(_OUTSIDE)  # what a commit may contain
ENDS_WITH_A_WRITE = (Transit, Park)  # a commit writes one revision for each of these
GOES_ON = (Transit, Execute)  # a function that ends with one of these goes on with its State


def no_command(command: object) -> StepflowError:
    """The error for a value that is no command."""
    return StepflowError(f"{command!r:.80} is no command: use transit, park, delay, commit, Execute, Noop, ...")


def _refusal(command: object) -> StepflowError:
    """Why a commit cannot contain this."""
    name = _OUTSIDE.get(type(command))
    if name is None:
        return no_command(command)
    where = "another commit" if name == "commit" else "commit"
    return StepflowError(f"{name} command not allowed inside {where}: do it before or after")


def transit(ctx: StateCtx, to: str, **annotations: str) -> Transit:
    """Move `ctx` to flow `to`."""
    return Transit(ctx, to, annotations)


def park(ctx: StateCtx, **annotations: str) -> Park:
    """Park `ctx`: no flow advances it until a command moves it."""
    return Park(ctx, annotations)


def delay(
    ctx: StateCtx, to: str, when: float | timedelta | datetime, *, commit: bool = True, **annotations: str
) -> DelayCommand:
    """Move `ctx` to flow `to` later, see Delay."""
    return DelayCommand(ctx, to, when, annotations, commit)


def commit(*commands: Command) -> CommitCommand:
    """Execute all of these commands or none."""
    return CommitCommand(commands)
