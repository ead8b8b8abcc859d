"""Queries of the port as requests of flowstate.v1; where servers answer less exactly than the port promises, the rest is done here.

Servers differ: some say `more` too rarely, some take `since_time` for exclusive or forget the revision beside it, some answer
`latest_only` with a revision that is not the newest one of its State any more. So pages are read until one is empty, times
and revisions are compared again, and the newest revision of a State is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from threading import Lock

from attrs import evolve

from stepflow.drivers.http.flowstate import messages as m
from stepflow.drivers.http.flowstate.client import FlowstateClient, FlowstateRefusal
from stepflow.drivers.port.delays import DataQuery, Delay, DelayQuery, StoredData
from stepflow.drivers.port.queries import HistoryQuery, Revision
from stepflow.errors import StoreError
from stepflow.model.ctx import StateCtx
from stepflow.model.data import ALIAS_PREFIX
from stepflow.model.state import State, transition_to

COMMIT_ID = "stepflow.commit"  # transition annotation: tells a commit whose answer was lost from one of another client
PAGE = 200
MILLI = 1000  # microseconds
MOST_DELAYS = 1 << 20  # in one window
ALIAS = "d"  # of data in requests; the server does not keep it


class Reads:
    """Reads the States, delays and data of one server. `head` is the newest revision that was seen; thread-safe."""

    def __init__(self, client: FlowstateClient) -> None:
        self._client = client
        self._lock = Lock()
        self.head, self.timeline = 0, 0  # the latter grows when the server lost revisions

    def saw(self, *states: State) -> None:
        """These revisions exist."""
        with self._lock:
            self.head = max(self.head, *(state.rev for state in states), 0)

    def newest(self) -> int:
        """The newest revision of the server, as far as it shows it."""
        since, found = self.head, self._states(-1, 1)
        if not found:  # a server may not find it while others write, or just after its start
            while page := self._states(self.head, PAGE):
                self.saw(*page)
            if self.head > since or not since or self._states(0, 1):
                return self.head
        newest = found[0].rev if found else 0  # nothing is there any more: a store in memory was started again
        with self._lock:
            if newest < since:
                self.timeline += 1
                self.head = newest
            self.head = max(self.head, newest)
            return self.head

    def state(self, state_id: str, rev: int = 0) -> State | None:
        """A revision of a State as the server has it, with its token; the newest one if `rev` is 0."""
        return self._one("GetStateByID", m.get_by_id(0, state_id, rev))

    def _one(self, method: str, command: bytes) -> State | None:
        try:
            answer = self._client.call(method, [StateCtx("")], command)
        except FlowstateRefusal as refused:
            if refused.code == "not_found":
                return None
            raise
        if len(answer.ctxs) != 1:
            raise StoreError(
                f"{self._client.address} answered {method} with {len(answer.ctxs)} States: 1 was asked for"
            )
        state = answer.ctxs[0].current
        self.saw(state)
        return state

    def _states(
        self,
        since_rev: int,
        limit: int,
        groups: Sequence[Mapping[str, str]] = (),
        since_ms: int = 0,
        latest_only: bool = False,
    ) -> list[State]:
        """A page as the server gives it; StoreError if it is not in order, or begins anew."""
        answer = self._client.call("GetStates", (), m.get_states(since_rev, limit, groups, since_ms, latest_only))
        if not answer.answered:
            raise StoreError(f"{self._client.address} answered GetStates with another command")
        found: list[State] = []
        last = since_rev
        for state in answer.states:
            if state.rev <= since_rev or (
                found and state.rev == last
            ):  # some find a State once for each group of labels
                continue
            if state.rev < last:
                raise StoreError(f"{self._client.address} answered GetStates with revision {state.rev} behind {last}")
            last = state.rev
            found.append(state)
        if answer.states and not found:
            raise StoreError(
                f"{self._client.address} answers a query since revision {since_rev} with older ones only: it cannot be read in pages"
            )
        return found

    def log(self, since_rev: int, *, latest_only: bool = False, until: int | None = None) -> Iterator[State]:
        """All revisions after one, ascending, as the server has them; page by page, to the end."""
        while page := self._states(since_rev, PAGE, latest_only=latest_only):
            for state in page:
                if until is not None and state.rev > until:
                    return
                yield state
            since_rev = page[-1].rev
            self.saw(page[-1])

    def history(self, query: HistoryQuery) -> list[Revision]:
        """The revisions that a query asks for; without their tokens and without exchanges, which there are none of."""
        if query.id is not None:
            found = self._of_one(query)
        elif query.last:
            found = self._last(query)
        else:
            found = self._matching(query)
        return [Revision(plain(state), "") for state in found]

    def _of_one(self, query: HistoryQuery) -> list[State]:
        assert query.id is not None
        wanted = 0 if query.last and query.until_rev is None else query.until_rev
        if query.limit != 1 or query.labels or wanted is None or (wanted and query.since_rev != wanted - 1):
            raise StoreError(
                f"{self._client.address}: the history of State {query.id!r} cannot be read there: flowstate.v1 finds one revision"
                " of a State, or the newest; engine.iterate() reads the revisions of all States"
            )
        state = self.state(query.id, wanted)
        return [] if state is None else [state]

    def _last(self, query: HistoryQuery) -> list[State]:
        """The newest matches. One is asked for; to find more, the log is read from further and further back."""
        if query.limit == 1 and query.until_rev is None and not query.since and not query.latest_only:
            if len(query.labels) == 1:
                state = self._one("GetStateByLabels", m.get_by_labels(0, query.labels[0]))
                return [] if state is None else [state]
            return self._states(-1, 1, query.labels)
        until = self.newest() if query.until_rev is None else query.until_rev
        step = max(query.limit, PAGE)
        while True:
            begin = max(query.since_rev, until - step)
            found = self._matching(evolve(query, since_rev=begin, until_rev=until, last=False, limit=step + 1))
            if len(found) >= query.limit or begin == query.since_rev:
                return found[-query.limit :]
            step *= 4

    def _matching(self, query: HistoryQuery) -> list[State]:
        """The oldest matches."""
        found: list[State] = []
        since_rev, since_ms = query.since_rev, 0 if query.since_rev else max(0, query.since // MILLI - 1)
        filtered = bool(query.labels or query.since or query.latest_only)
        while len(found) < query.limit:
            size = PAGE if query.since or query.latest_only else min(PAGE, query.limit - len(found))
            page = self._states(since_rev, size, query.labels, since_ms, query.latest_only)
            if not page:
                break
            since_rev, since_ms = page[-1].rev, 0
            self.saw(page[-1])
            found += islice((state for state in page if self._wanted(state, query)), query.limit - len(found))
            at_end = query.until_rev is not None and since_rev >= query.until_rev
            if at_end or (len(page) < size and not filtered):
                break
        return found

    def _wanted(self, state: State, query: HistoryQuery) -> bool:
        if state.committed_at < query.since or (query.until_rev is not None and state.rev > query.until_rev):
            return False
        if not query.latest_only:
            return True
        newest = self.state(state.id)
        return newest is not None and newest.rev == state.rev

    def delays(self, query: DelayQuery) -> list[Delay]:
        """Delays by due time and offset. One that needs a commit is over when its State has moved on; of others it is not known."""
        if query.pending:
            raise StoreError(
                f"{self._client.address}: flowstate.v1 does not tell which delays are pending; GetDelayedStates reads all"
            )
        found = [
            one
            for one in self.window(query.since, query.until, query.after)
            if query.since < one.due <= query.until and query.run_id in (None, one.state.id)
        ]
        found = found[: query.limit]
        newest = {state_id: self.state(state_id) for state_id in {one.state.id for one in found if one.commit}}
        revs = {state_id: state.rev for state_id, state in newest.items() if state is not None}
        return [
            evolve(one, state=plain(one.state), fired=one.commit and revs.get(one.state.id, 0) != one.state.rev)
            for one in found
        ]

    def window(self, since: int, until: int, after: int = 0) -> list[Delay]:
        """All delays in the seconds of a window, as the server has them, by due time and offset.

        Servers order the pages of an answer differently, so the whole window is asked for.
        """
        since_s, until_s, limit = max(1, since // m.SECOND - 1), until // m.SECOND, PAGE
        while until_s > 0:
            answer = self._client.call("GetDelayedStates", (), m.get_delayed(since_s, until_s, after, limit))
            if not answer.answered:
                raise StoreError(f"{self._client.address} answered GetDelayedStates with another command")
            if len(answer.delays) < limit and not answer.more:
                return sorted(
                    (one for one in answer.delays if one.offset > after), key=lambda one: (one.due, one.offset)
                )
            if limit > MOST_DELAYS:
                raise StoreError(
                    f"{self._client.address} has more than {MOST_DELAYS:,} delays in one window: ask for a shorter one"
                )
            limit *= 8
        return []

    def data(self, query: DataQuery) -> list[StoredData]:
        """The data of one revision."""
        ctx = StateCtx("data", annotations={ALIAS_PREFIX + ALIAS: str(query.rev)})
        try:
            answer = self._client.call("GetData", [ctx], m.get_data(0, ALIAS))
        except FlowstateRefusal as refused:
            if refused.code == "not_found" or refused.message.endswith("data not found"):
                return []
            raise
        data = answer.ctxs[0].datas.get(ALIAS) if answer.ctxs else None
        if data is None or data.rev != query.rev:
            raise StoreError(f"{self._client.address} answered GetData for revision {query.rev} without it")
        return [StoredData(data.rev, data.blob, data.annotations)]


def plain(state: State) -> State:
    """The State without the token of its commit."""
    notes = state.transition.annotations
    if COMMIT_ID not in notes:
        return state
    kept = {name: note for name, note in notes.items() if name != COMMIT_ID}
    return state._replace(transition=transition_to(state.transition.to, kept))
