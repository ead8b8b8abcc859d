"""Working copies of the States that a script names: nothing happens to the callers' objects until they take over."""

from __future__ import annotations

from attrs import define, field, frozen

from stepflow.drivers.port.placeholders import Numbers
from stepflow.engine.states import provisional
from stepflow.engine.states.checks import copy_of
from stepflow.model.ctx import StateCtx
from stepflow.model.data import Data


@frozen
class _Copy:
    """A caller's object with its copy, and the parts of that copy by which a replacement is noticed."""

    original: StateCtx
    copy: StateCtx
    labels: dict[str, str]
    annotations: dict[str, str]
    datas: dict[str, Data]
    origins: dict[int, Data]  # of the copied data, by the identity of the copy


@define
class Copies:
    """One copy for each State, whichever commands name it."""

    _made: dict[int, _Copy] = field(factory=dict)

    def of(self, ctx: StateCtx) -> StateCtx:
        """The copy of this State."""
        made = self._made.get(id(ctx))
        if made is None:
            copy = copy_of(ctx)
            origins = {id(data): ctx.datas[alias] for alias, data in copy.datas.items()}
            made = self._made[id(ctx)] = _Copy(ctx, copy, copy.labels, copy.annotations, copy.datas, origins)
        return made.copy

    def apply(self, numbers: Numbers) -> None:
        """Let the callers' objects become what their copies are, with the numbers of the commit.

        Dicts and data that the script changed in place are changed in place, as a caller may refer to them.
        """
        for made in self._made.values():
            original = made.original
            copy = numbers.put_into_ctx(made.copy, tuple(provisional.in_ctx(made.copy)))
            original.id, original.transition, original.committed = copy.id, copy.transition, copy.committed
            original.rev, original.committed_at = copy.rev, copy.committed_at
            original.transitions = copy.transitions
            if copy.labels is not made.labels:
                original.labels = copy.labels
            if copy.annotations is not made.annotations:
                original.annotations = copy.annotations
            elif original.annotations != copy.annotations:
                original.annotations.update(copy.annotations)
            if copy.datas is not made.datas:
                original.datas = copy.datas
            elif copy.datas:
                original.datas.update({alias: _taken_over(made, data) for alias, data in copy.datas.items()})


def _taken_over(made: _Copy, data: Data) -> Data:
    """The caller's data with the number and annotations of its copy; data that the script loaded as it is."""
    origin = made.origins.get(id(data))
    if origin is None:
        return data
    origin.rev, origin.annotations = data.rev, data.annotations
    return origin
