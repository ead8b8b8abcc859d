"""effects: what the call of a workflow asks of the attempt that runs it, and where an attempt ends."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from attrs import frozen

from stepflow.errors import DefinitionError
from stepflow.model.codec import Codec
from stepflow.replay.branches import Branch
from stepflow.replay.step import StepFunction

EMPTY: Mapping[str, Any] = MappingProxyType({})


class StepCall(NamedTuple):
    """The step `key` to be called, as attempt number `attempt` (from 1); after `limit_s` seconds it fails with TimedOut, or UnknownOutcome.

    The answer is `(error, value)`. What the function returned is recorded under `kind` before that, and `value` is as a replay restores it
    (`round_trip`; what that raises is the failure of the call). A `transaction` is called with a connection before the other arguments, and its row is
    committed with what the function wrote.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    step: StepFunction
    limit_s: float | None
    key: str
    attempt: int
    at_most_once: bool = False
    kind: str = "step"

    @property
    def transacted(self) -> bool:
        """Whether it is called in a transaction of the store."""
        return self.kind == "transaction"


class Many(NamedTuple):
    """Calls to be made side by side, `width` at a time, in this order.

    `ended(call, error, value)` gives the rows to be recorded when a call has ended. Once `enough()` is true no call begins, and those
    that run are given up.
    """

    calls: Sequence[StepCall]
    width: int
    ended: Callable[[StepCall, Any, Any], list[Note]]
    enough: Callable[[], bool]


class Note(NamedTuple):
    """A row to be made durable before the workflow goes on; `consume` are the seqs of the events that it uses up."""

    key: str
    kind: str
    name: str
    text: str
    failed: bool = False
    consume: tuple[int, ...] = ()
    branch: str = ""  # the path of the branch that writes it


class Together(NamedTuple):
    """Coroutines of the workflow that go on side by side, each in a branch, which receives the error or the value."""

    calls: tuple[tuple[Branch, Coroutine[Any, Any, Any]], ...]


@frozen
class Suspension:
    """Where an attempt ended without an end of the run, and when it goes on.

    `at` is the position, e.g. `"sleep:cool-off/v1"`; empty if the claim shall only be released. `rows` are recorded with it. `due` (microseconds UTC, None:
    not by itself) and `events`, the names of the events that wake the run, say when; `error` is the stored failure of a step that is tried
    again as attempt number `attempt`. `also` are the positions of other branches that wait. `payloads` restore the payloads of those events that
    users publish, by name.
    """

    at: str = ""
    due: int | None = None
    rows: tuple[Note, ...] = ()
    events: tuple[str, ...] = ()
    error: str = ""
    attempt: int = 1
    also: tuple[str, ...] = ()
    payloads: Mapping[str, Codec[Any]] = EMPTY


def swallowed(flow: str, found: Suspension, at: str = "") -> DefinitionError:
    """The code that a call suspended went on."""
    return DefinitionError(
        f"{flow}: the function went on after the call at {at or found.at or 'which the worker stopped'} had suspended the run: it must not"
        " catch BaseException without raising it again; `except Exception` is fine"
    )
