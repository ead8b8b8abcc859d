"""Operation: one call of the operator's API, from which its route and its part of the OpenAPI document are made."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from attrs import Factory, frozen
from msgspec import UNSET, Meta, Struct

from stepflow.model.checks import EVENT_BYTES
from stepflow.model.family import RESERVED
from stepflow.server.namespaces import ServedEngine
from stepflow.server.tokens import Scope

Kind = Literal["run", "runs", "flow", "schedule", "store"]
LONGEST_CURSOR = 32_000  # characters, of the 65,536 that most servers take for all of a request but its body
Text = Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^[^\u0000]+$")]
OWN: dict[str, Any] = {"pattern": rf"^(?!{re.escape(RESERVED)})[^\u0000]+$"}  # `not_reserved` refuses others in words
OwnText = Annotated[str, Meta(min_length=1, max_length=512, extra_json_schema=OWN)]
"""The name of a label that a caller gives."""
EventName = Annotated[str, Meta(min_length=1, max_length=EVENT_BYTES, extra_json_schema=OWN)]
"""At most so many bytes, too."""
Cursor = Annotated[str, Meta(min_length=1, max_length=LONGEST_CURSOR, pattern=r"^[A-Za-z0-9_\-]+$")]
Namespace = Annotated[str, Meta(max_length=100, pattern=r"^([A-Za-z0-9][A-Za-z0-9._\-]*)?$")]


def not_reserved(*names: str) -> None:
    """Raise ValueError for a name that only the library gives, or that has NUL, as OWN says."""
    for name in names:
        if name.startswith(RESERVED):
            raise ValueError(f"{name!r:.80}: names that begin with {RESERVED!r} are stepflow's: use another name")
        if "\0" in name:
            raise ValueError(f"{name!r:.80}: give a text without NUL")


class InNamespace(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of each operation."""

    namespace: Annotated[
        Namespace, Meta(description="The namespace of the runs; empty for the one without a name.")
    ] = ""


class CountingQuery(InNamespace, frozen=True, kw_only=True):
    """The query of an operation that counts runs."""

    recent: Annotated[
        bool, Meta(description="Where counting takes long, the numbers of some seconds ago are good enough.")
    ] = False


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of an operation that changes something; `target` is what it changes, for the audit. Of the fields `one_of` it has one."""

    one_of: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.one_of and sum(getattr(self, name) is not UNSET for name in self.one_of) != 1:
            raise ValueError(f"give one of {', '.join(self.one_of)}")

    def target(self) -> str:
        """The id or the name of what is changed; empty if the operation tells it."""
        return ""

    def changes(self) -> bool:
        """Whether something is changed: not in a dry run."""
        return True

    def arguments(self) -> dict[str, Any]:
        """What is written to the audit beside the target: no values of users, which may be secret."""
        return {}


class NoBody(Body, frozen=True, kw_only=True):
    """Of an operation that reads."""


@frozen
class OperatorCall:
    """One call: the open engine of the namespace, the query and the body as they were checked, and the services of the server.

    What changes many runs calls `report` with the number of runs so far. `address` is the URL at which the caller reaches the server.
    """

    engine: ServedEngine
    query: Any
    body: Any
    services: Any
    report: Callable[[int], object] | None = None
    address: str = ""

    async def counts(self) -> Mapping[str, Mapping[str, int]]:
        """How many runs there are, by flow and status, as a CountingQuery asks for them."""
        return await (self.engine.recent_tally.read() if self.query.recent else self.engine.tally())


@frozen(kw_only=True)
class Operation:
    """A call: what it takes and answers, and the scope that it needs; `admin_for` tells of bodies that need `admin`.

    Its name, and the texts of the document, are those of the function `call`. `refusals` are the statuses of its errors beside those that
    each operation has.
    """

    path: str
    scope: Scope
    kind: Kind
    call: Callable[[OperatorCall], Awaitable[Any]]
    answer: Any
    query: type[InNamespace] = InNamespace
    body: type[Body] = NoBody
    admin_for: Callable[[Any], bool] | None = None
    refusals: tuple[int, ...] = Factory(tuple)

    @property
    def name(self) -> str:
        """The operation's id in the document, and the verb in the audit."""
        return self.call.__name__

    @property
    def method(self) -> Literal["GET", "POST"]:
        """POST if it takes a body."""
        return "GET" if self.body is NoBody else "POST"
