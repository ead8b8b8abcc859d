"""Commits to a flowstate server, each made once: what became of one whose answer was lost is read from the log.

Each write carries the token of its commit in its transition. A State at the revision that a commit expects was not written by it;
one that has moved on has a revision with the token, or another client was first, and then the commit can never apply.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence

from attrs import frozen

from stepflow.drivers.http.flowstate import messages as m
from stepflow.drivers.http.flowstate.client import FlowstateClient, FlowstateRefusal, Unanswered
from stepflow.drivers.http.flowstate.reads import ALIAS, COMMIT_ID, Reads, plain
from stepflow.drivers.http.flowstate.requests import CommitRequest, due_s, missing, unsupported
from stepflow.drivers.port.commit import Commit, Write
from stepflow.drivers.port.delays import DataWrite
from stepflow.errors import OutcomeUnknown, RevMismatch, StoreError, Unavailable
from stepflow.model.ctx import StateCtx
from stepflow.model.data import BINARY, Data
from stepflow.model.state import State

TRIES = 3  # of a commit whose answers are lost; after each the log is read
log = logging.getLogger("stepflow")


@frozen
class Written:
    """What a commit made: its States as they are stored, and the revisions of its data."""

    states: tuple[State, ...] = ()
    data_revs: tuple[int, ...] = ()


class Writes:
    """Carries out commits on one server."""

    def __init__(self, client: FlowstateClient, reads: Reads) -> None:
        self._client, self._reads = client, reads
        self._warned = False

    def commit(self, commit: Commit) -> Written:
        """All of it or nothing; data of a commit that is refused stay behind, and nothing refers to them.

        Raises RevMismatch with all ids that do not match, OutcomeUnknown, and StoreErrors.
        """
        if what := missing(commit):
            raise unsupported(self._client.address, what)
        try:
            data_revs = tuple(self._store(one) for one in commit.data)
            request = CommitRequest.of(commit, data_revs, secrets.token_hex(8))
            if commit.writes:
                return Written(self._committed(request), data_revs)
            if commit.delays:
                self._delay(request)
        except UnicodeEncodeError as error:
            raise StoreError(f"a flowstate server takes UTF-8 only, and this text is none: {error}") from None
        return Written((), data_revs)

    def _store(self, data: DataWrite) -> int:
        """The revision of new data; data that were stored twice, as an answer was lost, do no harm."""
        ctx = StateCtx(data.run_id)
        ctx.datas[ALIAS] = Data(data.blob, 0, dict(data.annotations))
        for _ in range(TRIES):
            try:
                answer = self._client.call("StoreData", [ctx], m.store_data(0, ALIAS), writes=True)
            except Unanswered as error:
                lost = error
                continue
            stored = answer.ctxs[0].datas.get(ALIAS) if answer.ctxs else None
            if stored is None or stored.rev < 1:
                raise StoreError(f"{self._client.address} answered StoreData without a revision")
            if (BINARY in stored.annotations) != (BINARY in data.annotations) or stored.blob != data.blob:
                raise StoreError(f"{self._client.address} stored other data than it was given")
            return stored.rev
        raise Unavailable(str(lost))

    def _committed(self, request: CommitRequest) -> tuple[State, ...]:
        seen = self._reads.head  # a revision of this commit is a later one
        lost: Unanswered | None = None
        for _ in range(TRIES):
            try:
                answer = self._client.call("Commit", request.ctxs, request.command, writes=True)
            except Unanswered as error:
                lost = error
                if (found := self._found(request, seen, lost)) is not None:
                    return found
            except FlowstateRefusal as refused:
                if refused.code == "aborted":
                    if lost is not None and (found := self._found(request, seen, lost)) is not None:
                        return found
                    raise self._mismatch(request.commit.writes, refused) from None
                if (
                    refused.code == "unknown"
                    and (found := self._found(request, seen, Unanswered(str(refused)))) is not None
                ):
                    return found
                raise
            else:
                return self._answered(request, answer, seen)
        raise OutcomeUnknown(
            f"{lost}; whether a commit of {_names(request.commit.writes)} was made is not known"
        ) from None

    def _answered(self, request: CommitRequest, answer: m.Answer, seen: int) -> tuple[State, ...]:
        writes, made = request.commit.writes, dict[str, State]()
        for ctx in answer.ctxs:  # some list them anew, in the order of the commands, and some of them twice
            made.setdefault(ctx.current.id, ctx.current)
        if all(_rev(made.get(write.state.id)) > write.state.rev for write in writes):
            return self._taken(request, [made[write.state.id] for write in writes])
        text = f"{self._client.address} answered a commit of {_names(writes)} without their new revisions"
        if (found := self._found(request, seen, Unanswered(text))) is None:
            raise OutcomeUnknown(f"{text}, and they are not there: read them again before you repeat it")
        return found

    def _taken(self, request: CommitRequest, states: Sequence[State]) -> tuple[State, ...]:
        """The States that were made; a server that stored something else is told of."""
        self._reads.saw(*states)
        for write, state, sent in zip(request.commit.writes, states, request.ctxs, strict=False):
            kept = (set(state.labels) - set(sent.labels)) | (set(state.annotations) - set(sent.annotations))
            kept |= set(state.transition.annotations) - {*write.state.transition.annotations, COMMIT_ID}
            kept -= {one.annotation for one in request.commit.placeholders}
            if kept and not self._warned:
                self._warned = True
                log.warning(
                    "%s keeps labels and annotations that a commit takes away, as the memory driver of flowstate does: State %s, %s",
                    self._client.address, state.id, ", ".join(sorted(kept)),
                )  # fmt: skip
        return tuple(plain(state) for state in states)

    def _found(self, request: CommitRequest, seen: int, lost: Unanswered) -> tuple[State, ...] | None:
        """The States that the commit made; None if it did not, yet. RevMismatch if it never will."""
        try:
            return self._look(request, seen)
        except (Unavailable, FlowstateRefusal) as error:
            names = _names(request.commit.writes)
            raise OutcomeUnknown(f"{lost}; whether a commit of {names} was made is not known: {error}") from None

    def _look(self, request: CommitRequest, seen: int) -> tuple[State, ...] | None:
        writes = request.commit.writes
        newest = [self._reads.state(write.state.id) for write in writes]
        moved = [write.state.id for write, state in zip(writes, newest, strict=True) if _rev(state) != write.state.rev]
        if not moved:
            return None
        made = {state.id: state for state in newest if state is not None and _has(state, request.token)}
        # Others may have moved them on since, on a server that gives their revisions the token, too.
        first = dict[str, State]()
        for state in self._reads.log(max(seen, *(write.state.rev for write in writes))):
            if _has(state, request.token):
                first.setdefault(state.id, state)
        made |= first
        if len(made) < len(writes):
            raise RevMismatch(moved)
        return self._taken(request, [made[write.state.id] for write in writes])

    def _mismatch(self, writes: Sequence[Write], refused: FlowstateRefusal) -> RevMismatch:
        """All ids of the commit that do not match: a server names the first one."""
        moved = [w.state.id for w in writes if _rev(self._reads.state(w.state.id)) != w.state.rev]
        named = [w.state.id for w in writes if w.state.id in refused.message]
        return RevMismatch(moved or named or [write.state.id for write in writes])

    def _delay(self, request: CommitRequest) -> None:
        """Store delays. One that needs no commit would be carried out twice if it was stored twice."""
        delays = request.commit.delays
        method, command = ("Delay", request.parts[0]) if len(delays) == 1 else ("Commit", request.command)
        for _ in range(TRIES):
            try:
                self._client.call(method, request.ctxs, command, writes=True)
            except Unanswered as error:
                lost = error
                if self._delayed(request, lost):
                    return
                if not all(delay.commit for delay in delays):
                    break
            else:
                return
        names = ", ".join(repr(delay.state.id) for delay in delays)
        raise OutcomeUnknown(f"{lost}; whether the delay of {names} was stored is not known")

    def _delayed(self, request: CommitRequest, lost: Unanswered) -> bool:
        """Whether all delays of the request are there."""
        try:
            for at_s in {due_s(delay) for delay in request.commit.delays}:
                wanted = sorted(delay.state.id for delay in request.commit.delays if due_s(delay) == at_s)
                there = self._reads.window((at_s - 1) * m.SECOND, at_s * m.SECOND)
                if wanted != sorted({one.state.id for one in there if _has(one.state, request.token)}):
                    return False
        except (Unavailable, FlowstateRefusal) as error:
            raise OutcomeUnknown(f"{lost}; whether a delay was stored is not known: {error}") from None
        return True


def _rev(state: State | None) -> int:
    return 0 if state is None else state.rev


def _has(state: State, token: str) -> bool:
    return state.transition.annotations.get(COMMIT_ID) == token


def _names(writes: Sequence[Write]) -> str:
    return ", ".join(repr(write.state.id) for write in writes)
