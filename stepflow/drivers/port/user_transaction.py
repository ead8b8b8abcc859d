"""UserTransaction: a transaction of the store in which a user's function writes its own tables, and a commit of ours with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

from stepflow.drivers.port.commit import CommitResult
from stepflow.drivers.port.step import Member
from stepflow.errors import StoreError

Transactions = Literal["none", "sync", "async"]
"""Which functions a store can give a connection: none, sync ones, or both sync and async ones."""


class UserTransaction(ABC):
    """One transaction that is open, from `Store.begin` to `commit`, `roll_back` or `abandon` (law 25).

    The caller lets a function use `connection`, and after that calls `finish` and `commit`, or `roll_back`. The calls may come from
    several threads, one after the other; `abandon` may come while the function still uses the connection.
    """

    connection: Any
    """What the function gets: a connection of the store's database library, inside of the transaction."""

    @abstractmethod
    def finish(self) -> None:
        """The function has ended: its connection is closed to it.

        Raises StepflowError, and rolls back, if it ended the transaction, or left it in a state in which nothing can be committed.
        """

    @abstractmethod
    def commit(self, member: Member, now: int) -> CommitResult:
        """Commit the member together with what the function wrote; if the member is refused, both are rolled back."""

    @abstractmethod
    def roll_back(self) -> None:
        """End the transaction without a commit; nothing happens if it has ended."""

    @abstractmethod
    def abandon(self) -> None:
        """Roll back although the function goes on in another thread: each later use of its connection is refused."""

    @abstractmethod
    def trouble(self, error: BaseException) -> StoreError | None:
        """The StoreError that an exception of the function amounts to; None if the store is not to blame.

        With Unavailable or Full nothing was written, and the function may be called again.
        """
