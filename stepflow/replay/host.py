"""Host: what the calls of a workflow need of the attempt that runs it, and what that gives them: stored rows and events."""

from __future__ import annotations

from typing import Any, Protocol, Self

from stepflow.replay.branches import Branch


class Recorded(Protocol):
    """A stored row of the journal."""

    @property
    def key(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def failed(self) -> bool: ...


class Stored(Recorded, Protocol):
    """A row as the store gives it: rows of a higher `seq` were written later."""

    @property
    def seq(self) -> int: ...
    def _replace(self, *, kind: str, failed: bool = ...) -> Self: ...


class Published(Protocol):
    """An event that no wait has taken yet."""

    @property
    def name(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def payload(self) -> str: ...
    @property
    def published_at(self) -> int: ...
    @property
    def seq(self) -> int: ...


class Host(Protocol):
    """What the calls of a workflow need of the attempt that runs it.

    `stop` and `paused` say that the attempt shall end before its next new call, `cancel` that a cancel of the run was requested.
    """

    stop: bool
    paused: bool
    cancel: bool

    def now(self) -> int:
        """Microseconds UTC."""

    def random_bytes(self, n: int) -> bytes:
        """`n` random bytes."""

    def uuid7(self) -> str:
        """A new UUID of version 7."""

    def misplaced(self) -> str:
        """Why a call may not be made where it is made now; empty if it may."""

    def branch(self) -> Branch | None:
        """The branch of the present task, if it is one of a gather."""

    def subscribed(self, topic: str) -> bool:
        """Whether the run has the label of those that wait for this topic."""

    def transaction_problem(self, is_async: bool) -> str:
        """Why the store gives no transaction to a function, an async one if `is_async`; empty if it does."""

    def connection(self) -> Any:
        """The connection of the transaction in which an atomic workflow runs; None in another workflow."""

    def settled(self) -> None:
        """The outcome of a call of which it was unknown is recorded."""

    def may_undo(self) -> bool:
        """Whether a cancelled workflow may still make calls."""

    def stored(self, error: Exception) -> str:
        """The text by which a failure is recorded."""

    def restored(self, key: str, text: str) -> Exception:
        """The exception that a recorded failure raises."""
