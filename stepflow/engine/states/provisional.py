"""Provisional numbers: what a script puts where numbers of its own commit belong, and collects as placeholders.

A provisional number is an int, a provisional text a str, so that later commands of the same script can work with them;
each knows which number of the commit takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from stepflow.drivers.port.commit import DataRevOf, Placeholder, RevOf, StackedOf
from stepflow.model.ctx import StateCtx
from stepflow.model.stacked import stack_text, unstack_text
from stepflow.model.state import State

Part = Literal["write", "delay", "committed", "current"]


class ProvisionalNumber(int):
    """A revision that the store will give: of a State or of data."""

    value: RevOf | DataRevOf


class ProvisionalText(str):
    """An annotation that will hold such numbers."""

    value: RevOf | DataRevOf | StackedOf


def number(shown: int, value: RevOf | DataRevOf) -> ProvisionalNumber:
    """A number that is `shown` until the store has given it."""
    made = ProvisionalNumber(shown)
    made.value = value
    return made


def text(shown: str, value: RevOf | DataRevOf | StackedOf) -> ProvisionalText:
    """A text that is `shown` until the numbers in it are known."""
    made = ProvisionalText(shown)
    made.value = value
    return made


def decimal(rev: int) -> str:
    """A revision as the text of an annotation."""
    return text(str(int(rev)), rev.value) if isinstance(rev, ProvisionalNumber) else str(rev)


def in_state(state: State, part: Part, of: int, *, rev: bool = True) -> Iterator[Placeholder]:
    """The placeholders of a State; without `rev` those of its annotations alone."""
    if rev and isinstance(state.rev, ProvisionalNumber):
        yield Placeholder(part, of, None, state.rev.value)
    for name, value in state.annotations.items():
        if isinstance(value, ProvisionalText):
            yield Placeholder(part, of, name, value.value)


def in_ctx(ctx: StateCtx) -> Iterator[Placeholder]:
    """The placeholders of a working copy, as `Numbers.put_into_ctx` fills them in."""
    yield from in_state(ctx.committed, "committed", 0)
    if isinstance(ctx.rev, ProvisionalNumber):
        yield Placeholder("current", 0, None, ctx.rev.value)
    for name, value in ctx.annotations.items():
        if isinstance(value, ProvisionalText):
            yield Placeholder("current", 0, name, value.value)
    for alias, data in ctx.datas.items():
        if isinstance(data.rev, ProvisionalNumber):
            yield Placeholder("data", alias, None, data.rev.value)


def stack(ctx: StateCtx) -> str:
    """The text of a working copy, with its placeholders if it has any."""
    found, shown = tuple(in_ctx(ctx)), stack_text(ctx)
    return text(shown, StackedOf(found)) if found else shown


def unstack(shown: str) -> StateCtx:
    """The working copy of such a text, with the same provisional numbers."""
    ctx = unstack_text(shown)
    if isinstance(shown, ProvisionalText) and isinstance(shown.value, StackedOf):
        _mark(ctx, shown.value.placeholders)
    return ctx


def _mark(ctx: StateCtx, placeholders: Iterable[Placeholder]) -> None:
    for one in placeholders:
        name, value = one.annotation, one.value
        if name is not None:
            if one.part == "current":
                ctx.annotations[name] = text(ctx.annotations[name], value)
            else:
                notes = {**ctx.committed.annotations, name: text(ctx.committed.annotations[name], value)}
                ctx.committed = ctx.committed._replace(annotations=notes)
        elif not isinstance(value, StackedOf):
            if one.part == "data":
                ctx.datas[str(one.of)].rev = number(ctx.datas[str(one.of)].rev, value)
            elif one.part == "current":
                ctx.rev = number(ctx.rev, value)
            else:
                ctx.committed = ctx.committed._replace(rev=number(ctx.committed.rev, value))
