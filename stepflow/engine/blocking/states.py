# Generated from stepflow/engine/states/api.py and stepflow/engine/states/watch.py by `make generate`: do not edit.
# ruff: noqa: A002 - the names of parameters are those of the async face
"""SyncWatch and BlockingVerbs: the blocking faces of Watch and AsyncVerbs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from stepflow.drivers.port.delays import Delay
from stepflow.engine.blocking.base import VerbsBase, WatchBase, each
from stepflow.engine.states.api import Labels, Since
from stepflow.engine.states.function_runner import Outcome
from stepflow.model import commands as c
from stepflow.model.ctx import StateCtx
from stepflow.model.state import State


class SyncWatch(WatchBase):
    """An endless iterator over States: `for state in watch`, or `watch.next(timeout)`.

    It survives errors of the store, but raises RevisionsLost once when revisions that it has delivered are gone. A wait that is cancelled loses nothing: the next one goes on where it was. When the
    engine is closed it raises Stopping.
    """

    def next(self, timeout: float | None = None) -> State | None:
        """The next State, or None if there is none for `timeout` seconds; with 0 the next one that is in the store now."""
        return self._call(self._watch.next(timeout))


class BlockingVerbs(VerbsBase):
    """What callers and flow functions do with States."""

    def do(self, *commands: c.Command) -> c.States | list[Delay] | None:
        """Carry out commands one after another, stopping at the first error; `commit(...)` is the atomic one.

        Returns the answer of the last command if it is a query. Raises RevMismatch when another commit moved a State first.
        """
        return self._call(self._verbs.do(*commands))

    def execute(self, ctx: StateCtx) -> Outcome:
        """Call the flow function that the State goes to, and what follows, here and now: Done, Parked, Delayed, Conflict.

        Raises what a function raised; the State stays as last committed.
        """
        return self._call(self._verbs.execute(ctx))

    def states(
        self,
        *labels: Labels,
        since_rev: int = 0,
        since: datetime | None = None,
        latest_only: bool = False,
        limit: int = 50,
    ) -> c.States:
        """Revisions that have all labels of one of the groups (no groups: all), ascending, at most `limit`.

        `since_rev` is exclusive, -1 asks for the newest match; `since` is a time, inclusive; `latest_only` leaves out
        revisions that are not the newest of their State.
        """
        return self._call(
            self._verbs.states(*labels, since_rev=since_rev, since=since, latest_only=latest_only, limit=limit)
        )

    def iterate(
        self, *labels: Labels, since_rev: int = 0, since: datetime | None = None, latest_only: bool = False
    ) -> Iterator[State]:
        """All revisions as `states` would give them, page by page, up to the newest; then it ends."""
        return each(self._call, self._verbs.iterate(*labels, since_rev=since_rev, since=since, latest_only=latest_only))

    def get_state(self, id: str, rev: int = 0) -> StateCtx:
        """A working copy of a stored State, of its newest revision if `rev` is 0; NotFound if there is none."""
        return self._call(self._verbs.get_state(id, rev))

    def watch(self, *labels: Labels, since: Since = 0) -> SyncWatch:
        """Every revision that has all labels of one of the groups, for ever: none is missed, none repeated.

        `since` is a revision (exclusive), a point in time, or `"latest"`: from the newest match on, itself included.
        """
        return SyncWatch(self._verbs.watch(*labels, since=since), self._call)
