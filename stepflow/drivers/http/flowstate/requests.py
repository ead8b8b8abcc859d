"""What a commit of the port is as a command of flowstate.v1, and what of it the protocol cannot carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import define, field

from stepflow.drivers.http.flowstate import messages as m
from stepflow.drivers.http.flowstate.reads import COMMIT_ID
from stepflow.drivers.port.commit import (
    SAME_PRIORITY,
    Commit,
    DataRevOf,
    Enqueue,
    Placeholder,
    RevOf,
    StackedOf,
)
from stepflow.drivers.port.delays import Delay
from stepflow.drivers.port.placeholders import Numbers
from stepflow.errors import StoreError
from stepflow.model.ctx import DELAY_UNTIL, StateCtx
from stepflow.model.stacked import unstack_text
from stepflow.model.state import PARKED, State

NEXT = "read and move States by commands (commit, delay, StoreData, watch), or use a stepflow server (`stepflow serve`)"


def missing(commit: Commit) -> str:
    """What of a commit a flowstate server has no place for; empty if it has for all."""
    enqueues = [part for part in commit.queue if isinstance(part, Enqueue)]
    found = {
        "runs (start)": any(w.exchange is not None or (w.created and w.created.input_hash) for w in commit.writes),
        "events (publish)": bool(commit.publish or commit.consume),
        "cancel marks": bool(commit.cancel),
        "journal (once, workflows)": bool(commit.journal or commit.forget),
        "deduplication keys": commit.dedup is not None,
        "schedules": commit.schedule is not None or commit.edit is not None,
        "pauses": bool(commit.pause) or commit.flow_pause is not None,
        "limits": any(part.limits for part in enqueues),
        "priorities": any(part.priority not in (0, SAME_PRIORITY) for part in enqueues),
    }
    return ", ".join(what for what, there in found.items() if there)


def unsupported(address: str, what: str) -> StoreError:
    """The refusal of what the protocol does not have."""
    return StoreError(
        f"{address} is a flowstate server: flowstate.v1 has States, delays and data, but no {what}; {NEXT}"
    )


@define
class CommitRequest:
    """One commit as working copies and parts of a command: writes in their order, each behind what is stacked into it, then delays.

    A server checks each write before it comes to the next part, so a commit that is refused leaves no delay behind.
    """

    commit: Commit
    data_revs: Sequence[int]
    token: str
    ctxs: list[StateCtx] = field(factory=list)
    parts: list[bytes] = field(factory=list)

    @classmethod
    def of(cls, commit: Commit, data_revs: Sequence[int], token: str) -> CommitRequest:
        """The request; StoreError for what cannot be told in one."""
        made = cls(commit, data_revs, token)
        for state in [write.state for write in commit.writes] + [delay.state for delay in commit.delays]:
            _check_names(state)
        for index, write in enumerate(commit.writes):
            made._write(index, made._filled(write.state, "write", index))
        for index in range(len(commit.delays)):
            made.parts.append(made.delay(index))
        return made

    @property
    def command(self) -> bytes:
        """The command of the whole commit."""
        return m.commit(self.parts)

    def _of(self, part: str, index: int) -> list[Placeholder]:
        return [one for one in self.commit.placeholders if (one.part, one.of) == (part, index)]

    def _filled(self, state: State, part: str, index: int) -> State:
        """The State with the revisions of data that it refers to."""
        notes = dict(state.annotations)
        for one in self._of(part, index):
            if one.annotation is not None and isinstance(one.value, DataRevOf):
                notes[one.annotation] = str(self.data_revs[one.value.data])
        return state._replace(annotations=notes)

    def _write(self, index: int, state: State) -> None:
        notes = dict(state.annotations)
        for one in self._of("write", index):
            if one.annotation is not None and isinstance(one.value, StackedOf):
                stacked = self._stacked(notes.pop(one.annotation), one.value)
                self.parts.append(m.stack(index, stacked, one.annotation))
            elif not isinstance(one.value, DataRevOf):
                raise self._refusal(state, "it holds the revision of another State of its own commit")
        self.ctxs.append(working_copy(state._replace(annotations=notes)))
        marked = {**state.transition.annotations, COMMIT_ID: self.token}
        if state.transition.to:
            self.parts.append(m.transit(index, state.transition.to, marked))
        else:
            self.parts.append(m.park(index, marked))

    def _stacked(self, text: str, value: StackedOf) -> int:
        """The place of the State that is stacked: it is one that this commit wrote before, as it was written."""
        ctx = unstack_text(text)
        revs = {one.value.write for one in value.placeholders if isinstance(one.value, RevOf)}
        known = [one for one in value.placeholders if isinstance(one.value, DataRevOf)]
        ctx = Numbers((), self.data_revs, 0).put_into_ctx(ctx, known)
        place = revs.pop() if len(revs) == 1 else -1
        if not 0 <= place < len(self.ctxs):
            raise self._refusal(ctx.current, "it is stacked with numbers that its commit gets")
        written = self._filled(self.commit.writes[place].state, "write", place)
        numbered = {one.part for one in value.placeholders if isinstance(one.value, RevOf)}
        nested = any(isinstance(one.value, StackedOf) for one in value.placeholders)
        same = _content(ctx.current) == _content(ctx.committed) == _content(written)
        if nested or not same or ctx.transitions or numbered != {"committed", "current"}:
            raise self._refusal(ctx.current, "it is stacked otherwise than as this commit writes it")
        self.ctxs[place].datas = ctx.datas
        return place

    def delay(self, index: int) -> bytes:
        """The part of a delay; the State that it moves is one that was written, or one as it is."""
        delay = self.commit.delays[index]
        state = self._filled(delay.state, "delay", index)
        place = self._delayed(state, index)
        target = state.transition
        notes = {
            name: note for name, note in target.annotations.items() if name not in (DELAY_UNTIL, m.NEEDS_NO_COMMIT)
        }
        return m.delay(place, target.to, due_s(delay), {**notes, COMMIT_ID: self.token}, delay.commit)

    def _delayed(self, state: State, index: int) -> int:
        written = [one.value.write for one in self._of("delay", index) if isinstance(one.value, RevOf)]
        if written:
            (place,) = written
            source = self._filled(self.commit.writes[place].state, "write", place)
            if (state.labels, state.annotations) != (source.labels, source.annotations):
                raise self._refusal(state, "it was edited between its commit and its delay")
            return place
        if any(isinstance(one.value, StackedOf) for one in self._of("delay", index)):
            raise self._refusal(state, "it is delayed with a State that this commit stacks")
        self.ctxs.append(working_copy(state))
        return len(self.ctxs) - 1

    def _refusal(self, state: State, why: str) -> StoreError:
        return StoreError(
            f"State {state.id!r}: {why}: flowstate.v1 cannot tell that in one commit; commit it first, and the rest in another commit"
        )


def _check_names(state: State) -> None:
    if "" in state.labels or "" in state.annotations or "" in state.transition.annotations:
        raise StoreError(
            f"State {state.id!r}: a label or annotation has an empty name, which flowstate.v1 refuses: name it"
        )


def due_s(delay: Delay) -> int:
    """When a delay is due, in whole seconds: not before its time."""
    return -(-delay.due // m.SECOND)


def working_copy(state: State) -> StateCtx:
    """A State as edited, at the revision that its commit expects."""
    ctx = StateCtx.of(state._replace(transition=PARKED, committed_at=0))
    ctx.committed = State(state.id, state.rev) if state.rev else State("")
    return ctx


def _content(state: State) -> tuple[str, object, Mapping[str, str], Mapping[str, str]]:
    return state.id, state.transition, dict(state.labels), dict(state.annotations)
