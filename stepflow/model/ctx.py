"""StateCtx: the working copy of a State that flow functions and callers edit; a commit makes the edits durable."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import Factory, define

from stepflow.errors import StepflowError
from stepflow.model.data import Data
from stepflow.model.state import PARKED, State, Transition, transition_to

DELAY_UNTIL = "flowstate.delay.until"  # transition annotation: RFC 3339


@define(eq=False)
class StateCtx:
    """Edit `labels` and `annotations` in place; change its transition by commands (`transit`, `park`, ...).

    `committed` is the State as last persisted: its `rev` is what a commit expects to find. `transitions` are those
    replaced since then, the oldest first. `datas` are the blobs loaded or set, by alias. `rev` and `committed_at` (microseconds
    UTC) are those of the revision that was edited.
    """

    id: str
    labels: dict[str, str] = Factory(dict)
    annotations: dict[str, str] = Factory(dict)
    transition: Transition = PARKED
    committed: State = Factory(lambda: State(""))
    transitions: list[Transition] = Factory(list)
    datas: dict[str, Data] = Factory(dict)
    rev: int = 0
    committed_at: int = 0

    @classmethod
    def of(cls, state: State) -> StateCtx:
        """A working copy of a stored State."""
        ctx = cls(state.id)
        ctx.reset(state)
        return ctx

    @property
    def current(self) -> State:
        """The State as edited, at the revision it is based on."""
        labels, annotations = dict(self.labels), dict(self.annotations)
        return State(self.id, self.rev, self.transition, labels, annotations, self.committed_at)

    @property
    def parked(self) -> bool:
        """True when the transition names no flow."""
        return not self.transition.to

    @property
    def delayed_until(self) -> datetime | None:
        """The due time of the delay that moved the State to its flow; None if no delay did."""
        text = self.transition.annotations.get(DELAY_UNTIL)
        return datetime.fromisoformat(text) if text else None

    def reset(self, state: State) -> None:
        """Replace the content by a stored State; all edits are lost."""
        self.id, self.transition, self.committed = state.id, state.transition, state
        self.rev, self.committed_at = state.rev, state.committed_at
        self.labels, self.annotations, self.transitions = dict(state.labels), dict(state.annotations), []

    def move(self, to: str, annotations: Mapping[str, str]) -> None:
        """Replace the current transition by a new one; an empty `to` parks the State."""
        self.transitions.append(self.transition)
        self.transition = transition_to(to, annotations)

    def copy(self) -> StateCtx:
        """An independent copy, with its edits and data."""
        copy = StateCtx(self.id, dict(self.labels), dict(self.annotations), self.transition, self.committed)
        copy.transitions, copy.rev, copy.committed_at = list(self.transitions), self.rev, self.committed_at
        copy.datas = {alias: Data(d.blob, d.rev, dict(d.annotations)) for alias, d in self.datas.items()}
        return copy

    def fork(self, id: str) -> StateCtx:  # noqa: A002
        """A copy under another id, not committed yet: its first commit creates the State."""
        copy = self.copy()
        copy.id, copy.committed, copy.rev, copy.committed_at = id, State(""), 0, 0
        return copy

    def annotation(self, name: str) -> str:
        """The transition's annotation if it has one of this name, else the State's, else empty."""
        found = self.transition.annotations.get(name)
        return self.annotations.get(name, "") if found is None else found

    def data(self, alias: str) -> Data:
        """The blob under an alias that was loaded or set; StepflowError otherwise."""
        if alias not in self.datas:
            known = ", ".join(sorted(self.datas)) or "none"
            raise StepflowError(
                f"data {alias!r} of {self.id!r} is not loaded (loaded: {known}): do GetData(ctx, {alias!r}) first"
            )
        return self.datas[alias]

    def set_data(self, alias: str, blob: bytes | str, *, binary: bool = False) -> Data:
        """Put a blob under an alias; `StoreData(ctx, alias)` makes it durable. Text is encoded as UTF-8."""
        if not alias:
            raise StepflowError("alias is empty: give the name under which the data is known to the State")
        if not isinstance(blob, str | bytes | bytearray | memoryview):
            raise StepflowError(
                f"data {alias!r}: {blob!r:.80} is neither bytes nor text: encode it first, e.g. as JSON"
            )
        raw = blob.encode() if isinstance(blob, str) else bytes(blob)
        known = self.datas.setdefault(alias, Data())
        known.blob = raw
        if binary:
            known.annotations["binary"] = "true"
        return known

    def __deepcopy__(self, memo: dict[int, Any]) -> StateCtx:
        return self.copy()
