"""Commands: the instructions that read and change States. Plain values; an engine carries them out.

`commit(...)` is the atomic unit; Execute, GetStates, GetDelayedStates and another commit may not stand inside of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from attrs import frozen

from stepflow.model.ctx import StateCtx
from stepflow.model.state import EMPTY, State


@frozen
class Transit:
    """Let a State go to flow `to`."""

    ctx: StateCtx
    to: str
    annotations: Mapping[str, str] = EMPTY


@frozen
class Park:
    """Let a State go nowhere until somebody moves it."""

    ctx: StateCtx
    annotations: Mapping[str, str] = EMPTY


@frozen
class Delay:
    """Let a State, as it is now, go to flow `to` later: after a duration (seconds or timedelta) or at a datetime.

    With `commit` it is void if the State has moved on by then; without, the snapshot is executed all the same.
    """

    ctx: StateCtx
    to: str
    when: float | timedelta | datetime
    annotations: Mapping[str, str] = EMPTY
    commit: bool = True


@frozen
class Execute:
    """Advance an independent copy of a State in the background; returned by a flow function: go on with this one."""

    ctx: StateCtx


@frozen
class Noop:
    """The flow function took care of everything itself."""


@frozen
class Stack:
    """Put a State away in an annotation of `carrier`, to be taken out again by Unstack."""

    carrier: StateCtx
    stacked: StateCtx
    annotation: str


@frozen
class Unstack:
    """Take a State out of an annotation of `carrier` into `target`."""

    carrier: StateCtx
    target: StateCtx
    annotation: str


@frozen
class StoreData:
    """Make the blob under `alias` durable, if it changed."""

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
    """An answer: States in ascending order of revision, and whether more match."""

    states: tuple[State, ...]
    more: bool


@frozen
class GetStates:
    """Read many revisions: see `Engine.states`. `since_rev` is exclusive, -1 asks for the newest match."""

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
class Commit:
    """Do all of these or nothing."""

    commands: tuple[Command, ...]


Command = (
    Transit
    | Park
    | Delay
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
    | Commit
)

ENDS_WITH_A_WRITE = (Transit, Park)  # a commit writes one revision for each of these


def transit(ctx: StateCtx, to: str, **annotations: str) -> Transit:
    """Let `ctx` go to flow `to`."""
    return Transit(ctx, to, annotations)


def park(ctx: StateCtx, **annotations: str) -> Park:
    """Let `ctx` go nowhere."""
    return Park(ctx, annotations)


def delay(
    ctx: StateCtx, to: str, when: float | timedelta | datetime, *, commit: bool = True, **annotations: str
) -> Delay:
    """Let `ctx` go to flow `to` later."""
    return Delay(ctx, to, when, annotations, commit)


def commit(*commands: Command) -> Commit:
    """Do all of these commands or nothing."""
    return Commit(commands)
