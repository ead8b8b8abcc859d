"""Inside: tells the calls of an engine that the caller is a function in a transaction of the same store."""

from __future__ import annotations

from contextvars import ContextVar

from attrs import define

from stepflow.errors import StepflowError


@define(eq=False)
class Inside:
    """One call of a function in a transaction of `store`, a URL; `posted` tells whether it made a call with `tx=`."""

    store: str
    posted: bool = False


_inside: ContextVar[Inside | None] = ContextVar("stepflow_inside_transaction", default=None)


class inside:  # noqa: N801 - used as a function
    """What is called in the block is inside of the transaction. No generator: contextlib sets an attribute of what is raised in one."""

    def __init__(self, call: Inside) -> None:
        self._call = call

    def __enter__(self) -> None:
        self._token = _inside.set(self._call)

    def __exit__(self, *_error: object) -> None:
        _inside.reset(self._token)


def note_post() -> None:
    """Something was posted through a connection, perhaps that of the transaction which the caller is inside of."""
    if (call := _inside.get()) is not None:
        call.posted = True


def is_inside_transaction() -> bool:
    """Whether the caller is a function in a transaction of a store."""
    return _inside.get() is not None


def check_outside_transaction(store: str) -> None:
    """Raise StepflowError if the caller is inside of a transaction of this store: a write would be no part of it, or wait for its end."""
    call = _inside.get()
    if call is not None and call.store == store:
        raise StepflowError(
            "an engine was called to write inside of a transaction of its own store, of which that would be no part: give the call"
            " the connection as tx=, or make it after the function has returned"
        )
