"""fan_out: what `wf.map` does, given the journal: one step for each item, several at a time, until enough have ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, field

from stepflow.errors import StepFailed
from stepflow.replay.decider import begin, failed, interrupted, recorded, step_of
from stepflow.replay.effects import Many, Note, StepCall
from stepflow.replay.journal import CANCELLED, Journal
from stepflow.replay.results import Failed, Ok
from stepflow.replay.step import StepFunction, round_trip


@define(eq=False)
class _Items:
    """The items of one map: the results so far, and whether enough have ended."""

    journal: Journal
    step: StepFunction
    keys: list[str]
    fail_after: int | None
    first: int | None
    results: dict[str, Ok[Any] | Failed] = field(factory=dict)
    counts: list[int] = field(factory=lambda: [0, 0])  # failed, ok

    def add(self, key: str, result: Ok[Any] | Failed) -> None:
        self.results[key] = result
        self.counts[result.ok] += 1

    def enough(self) -> bool:
        """Whether no more results are wanted."""
        fails, oks = self.counts
        return (self.fail_after is not None and fails >= self.fail_after) or (
            self.first is not None and oks >= self.first
        )

    def ended(self, call: StepCall, error: Exception | None, value: Any) -> list[Note]:
        """The row of a call that has ended; none if enough had ended before."""
        if self.enough():
            return []
        if error is None:
            try:
                text, value = round_trip(self.step, value)
            except Exception as refusal:  # noqa: BLE001 - CodecError, TooLarge, and what user classes raise
                error = refusal
            else:
                self.add(call.key, Ok(value))
                return [Note(call.key, "step", self.step.name, text)]
        text = self.journal.host.stored(error)
        self.add(call.key, Failed(failed(self.journal, call.key, text)))
        return [Note(call.key, "step", self.step.name, text, failed=True)]

    def all(self) -> list[Ok[Any] | Failed]:
        """A result for each item, in order."""
        why = "enough other items had ended"
        return [self.results.get(key) or Failed(StepFailed(key, "Cancelled", why), cancelled=True) for key in self.keys]


async def map_items(
    journal: Journal,
    key: str,
    fn: Callable[..., Any],
    items: Iterable[Any],
    width: int,
    rules: tuple[int | None, int | None],
    awaits: bool,
) -> list[Ok[Any] | Failed]:
    """Call the step for each item; the results in the order of the items."""
    journal.enter("map", key)
    step, values = step_of(journal, key, fn, awaits), list(items)
    found = _Items(journal, step, [f"{key}[{n}]" for n in range(len(values))], *rules)
    journal.enter_items("map", found.keys)
    over = journal.take_if_there("map", key, step.name)
    for name in found.keys:
        row = journal.take_if_there("step", name, step.name)
        if row is not None:
            try:
                found.add(name, Ok(recorded(journal, row, step.codec)))
            except Exception as error:
                if not row.failed:
                    raise
                found.add(name, Failed(error))
    if over is not None and over.kind == "map":
        if json.loads(over.text) != len(values):
            raise journal.mismatch(f"map {key!r} over {over.text} items", f"map {key!r} over {len(values)} items")
        if found.enough() or len(found.results) == len(values):
            return found.all()  # else an item's failure ended the run, and is tried again
    if over is None or over.kind != CANCELLED:  # else what undid the workflow is behind
        journal.nothing_left(f"map {key!r}")
    await begin(journal, key, over, step.name)
    calls = [
        StepCall(fn, (value,), step, None, name, 1 + journal.unfinished)
        for name, value in zip(found.keys, values, strict=True)
        if name not in found.results
    ]
    if calls and not found.enough():
        await journal.perform(Many(calls, width, found.ended, found.enough))
    if not found.enough() and len(found.results) < len(values):
        await interrupted(journal, key, step.name)
    await journal.perform(Note(key, "map", step.name, str(len(values))))
    return found.all()
