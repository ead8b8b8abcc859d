"""filters: the conditions of a RunFilter as a query and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field, structs

from stepflow.engine.client.filters import RunFilter
from stepflow.server.operator_api.operation import InNamespace, OwnText, Text

StatusName = Literal[
    "queued", "running", "sleeping", "waiting", "parked", "paused", "blocked", "completed", "failed", "cancelled"
]
When = Annotated[datetime, Meta(tz=True, description="A time with its offset, ISO 8601.")]
Label = Annotated[str, Meta(min_length=2, max_length=2000, pattern=r"^[^=\u0000]+=[^\u0000]*$")]
Labels = Annotated[list[Label], Meta(max_length=8)]
LabelValue = Annotated[str, Meta(max_length=2000, pattern=r"^[^\u0000]*$")]
Pairs = dict[Text, LabelValue]
OwnPairs = dict[OwnText, LabelValue]


class FilterQuery(InNamespace, frozen=True, kw_only=True):
    """The conditions of a RunFilter; a run has to meet all that are given."""

    flow: Text | None = None
    status: Annotated[list[StatusName], Meta(description="One of these; may be given several times.")] = field(
        default_factory=list
    )
    open: Annotated[bool | None, Meta(description="true: those that have not ended, false: those that have.")] = None
    label: Annotated[Labels, Meta(description="KEY=VALUE; with several, all must match.")] = field(default_factory=list)
    id_prefix: Text | None = None
    created_since: When | None = None
    created_until: When | None = None
    updated_since: When | None = None
    updated_until: When | None = None
    error_type: Annotated[Text | None, Meta(description="The class name of the error.")] = None
    error_text: Annotated[Text | None, Meta(description='A part of "Class: message" of the error.')] = None
    position: Annotated[
        Text | None,
        Meta(description="E.g. completed:order/pay, or order/pay: runs that did this step last, or failed in it."),
    ] = None
    parent: Annotated[Text | None, Meta(description="Runs that this one started as its children.")] = None

    def filter(self) -> RunFilter | None:
        """The filter; None if no run can meet it."""
        labels = labels_of(self.label)
        return None if labels is None else _filter(self, labels)


def labels_of(pairs: Sequence[str]) -> dict[str, str] | None:
    """The labels of some KEY=VALUE; None if a label has two values, as no run has."""
    found: dict[str, str] = {}
    for key, _equals, value in (one.partition("=") for one in pairs):
        if found.setdefault(key, value) != value:
            return None
    return found


class FilterBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The conditions of a RunFilter; a run has to meet all that are given. Without any it means all runs."""

    flow: Text | None = None
    status: list[StatusName] = field(default_factory=list)
    open: bool | None = None
    labels: Pairs = field(default_factory=dict)
    id_prefix: Text | None = None
    created_since: When | None = None
    created_until: When | None = None
    updated_since: When | None = None
    updated_until: When | None = None
    error_type: Text | None = None
    error_text: Text | None = None
    position: Text | None = None
    parent: Text | None = None

    def filter(self) -> RunFilter:
        """The filter. Raises StepflowError for one that cannot be meant."""
        return _filter(self, self.labels)

    def conditions(self) -> dict[str, Any]:
        """Those that were given."""
        return {name: value for name, value in structs.asdict(self).items() if value not in (None, [], {})}


SAME = (
    "flow", "open", "id_prefix", "created_since", "created_until", "updated_since", "updated_until", "error_type", "error_text",
    "position", "parent",
)  # fmt: skip


def _filter(given: FilterQuery | FilterBody, labels: dict[str, str]) -> RunFilter:
    same = {name: getattr(given, name) for name in SAME}
    return RunFilter(status=given.status or None, labels=labels, **same)
