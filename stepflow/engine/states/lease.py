"""Lease: the right to move one State, as an execution of its flow function has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from attrs import define, field

from stepflow.drivers.port.commit import Fence


@define(eq=False)
class Lease:
    """`fence` is the claim on State `id` (None: there is no queue row that is ours), `to` the flow of its queue row.

    `commits` counts the commits that moved the State, `delayed` is set when a delay of its present revision will wake it.
    `on_commit` hears of every commit that the execution makes.
    """

    id: str = ""
    fence: Fence | None = None
    to: str = ""
    commits: int = 0
    delayed: bool = False
    on_commit: Callable[[], None] | None = None


@define(eq=False)
class ExecutionContext:
    """The execution of a flow function that the present code is part of, on the store that `desk` stands for.

    `stopping` tells that it should come to an end, `waiting` that it only waits for news of States, `left` are the States
    that it moved and has not executed.
    """

    service: object
    lease: Lease
    stopping: Callable[[], bool]
    waiting: bool = False
    left: set[str] = field(factory=set)


_execution_context: ContextVar[ExecutionContext | None] = ContextVar("stepflow_acting", default=None)


def execution_context(service: object) -> ExecutionContext | None:
    """The execution that this code belongs to, if it is one on this store."""
    found = _execution_context.get()
    return found if found is not None and found.service is service else None


@contextmanager
def enter_execution(value: ExecutionContext | None) -> Iterator[None]:
    """What is called inside is part of that execution, also in the threads and tasks that it starts."""
    token = _execution_context.set(value)
    try:
        yield
    finally:
        _execution_context.reset(token)
