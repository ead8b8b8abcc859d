"""Fills in the placeholders of a commit: puts the numbers that the store gives to the commit where it refers to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import evolve, frozen

from stepflow.drivers.port.commit import Commit, DataRevOf, Placeholder, RevOf, StackedOf
from stepflow.model.ctx import StateCtx
from stepflow.model.stacked import stack_text, unstack_text
from stepflow.model.state import State


def filled(commit: Commit, revs: Sequence[int], data_revs: Sequence[int], now: int) -> Commit:
    """The commit without placeholders, given the revisions of its writes and of its data and the time of the commit.

    Ids, and the numbers of writes, data and delays, stay as they are. Drivers call it once the numbers are known.
    """
    if not commit.placeholders:
        return commit
    numbers, writes, delays = Numbers(revs, data_revs, now), list(commit.writes), list(commit.delays)
    for one in commit.placeholders:
        if one.part == "write":
            write = writes[int(one.of)]
            writes[int(one.of)] = write._replace(state=numbers.put_into_state(write.state, one))
        else:
            delay = delays[int(one.of)]
            delays[int(one.of)] = evolve(delay, state=numbers.put_into_state(delay.state, one))
    return commit._replace(writes=tuple(writes), delays=tuple(delays), placeholders=())


@frozen
class Numbers:
    """What a store gave to one commit: the revisions of its writes and of its data, and its time (microseconds UTC)."""

    revs: Sequence[int]
    data_revs: Sequence[int]
    now: int

    def put_into_state(self, state: State, one: Placeholder) -> State:
        """The State with this placeholder filled in."""
        if one.annotation is None:
            return state._replace(rev=self._number(one.value), committed_at=self.now)
        text = self.text(state.annotations.get(one.annotation, ""), one.value)
        return state._replace(annotations={**state.annotations, one.annotation: text})

    def put_into_ctx(self, ctx: StateCtx, placeholders: Iterable[Placeholder]) -> StateCtx:
        """Fill these placeholders in, in place; the same working copy."""
        for one in placeholders:
            if one.part == "committed":
                ctx.committed = self.put_into_state(ctx.committed, one)
            elif one.part == "data":
                ctx.datas[str(one.of)].rev = self._number(one.value)
            elif one.annotation is None:
                ctx.rev, ctx.committed_at = self._number(one.value), self.now
            else:
                ctx.annotations[one.annotation] = self.text(ctx.annotations[one.annotation], one.value)
        return ctx

    def text(self, given: str, value: RevOf | DataRevOf | StackedOf) -> str:
        """The annotation that was `given`, with its number; of a stacked State, with all numbers within it."""
        if isinstance(value, StackedOf):
            return stack_text(self.put_into_ctx(unstack_text(given), value.placeholders))
        return str(self._number(value))

    def _number(self, value: RevOf | DataRevOf | StackedOf) -> int:
        if isinstance(value, StackedOf):
            raise TypeError(f"{value!r:.80} is the text of an annotation, not a number")
        return self.revs[value.write] if isinstance(value, RevOf) else self.data_revs[value.data]
