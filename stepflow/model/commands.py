"""Commands: instructions that read and change States. They are plain values; an engine executes them.

`commit(...)` is the atomic unit; it may not contain Execute, GetStates, GetDelayedStates or another commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from attrs import frozen

from stepflow.model.ctx import StateCtx
from stepflow.model.state import EMPTY, State


@frozen
class Transit:
    """Move a State to flow `to`."""

    ctx: StateCtx
    to: str
    annotations: Mapping[str, str] = EMPTY


@frozen
class Park:
    """Park a State: no flow advances it until a command moves it."""

    ctx: StateCtx
    annotations: Mapping[str, str] = EMPTY


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


@frozen
class Execute:
    """Advance an independent copy of a State in the background; returned by a flow function: continue with this State."""

    ctx: StateCtx


@frozen
class Noop:
    """Do nothing: the flow function made its commits itself."""


@frozen
class Stack:
    """Store a State in an annotation of `carrier`; Unstack restores it."""

    carrier: StateCtx
    stacked: StateCtx
    annotation: str


@frozen
class Unstack:
    """Restore the State in an annotation of `carrier` into `target` and remove the annotation."""

    carrier: StateCtx
    target: StateCtx
    annotation: str


@frozen
class StoreData:
    """Store the blob under `alias` if it changed."""

    ctx: StateCtx
    alias: str


@frozen
class GetData:
    """Load the blob that the State refers to by `alias`."""

    ctx: StateCtx
    alias: str


@frozen
class GetStateByID:
    """Read a State into `ctx`: revision `rev`, 0 for the newest."""

    ctx: StateCtx
    id: str
    rev: int = 0


@frozen
class GetStateByLabels:
    """Read the newest revision that has all these labels into `ctx`."""

    ctx: StateCtx
    labels: Mapping[str, str]


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


@frozen
class GetDelayedStates:
    """Read delays: `since < due <= until`, offset greater than `offset`."""

    since: datetime | None = None
    until: datetime | None = None
    offset: int = 0
    limit: int = 500


@frozen
class CommitCommand:
    """Execute all of these commands or none."""

    commands: tuple[Command, ...]


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

ENDS_WITH_A_WRITE = (Transit, Park)  # a commit writes one revision for each of these


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
