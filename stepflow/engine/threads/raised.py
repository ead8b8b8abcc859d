"""raised: carries exceptions of user code through generators, coroutines and futures, some of which cannot pass them on.

A coroutine cannot raise StopIteration (PEP 479), a future cannot hold it, and a GeneratorExit closes the generators and
coroutines into which it is thrown.
"""

from __future__ import annotations

_STOPS = (StopIteration, StopAsyncIteration)
_REPLACED = (("coroutine raised StopIteration",), ("coroutine raised StopAsyncIteration",))


class Raised(BaseException):
    """Holds an exception that cannot pass."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


def for_generator(error: BaseException) -> BaseException:
    """What to throw into a generator that shall learn of this exception."""
    return Raised(error) if issubclass(type(error), GeneratorExit) else error


def for_future(error: BaseException) -> BaseException:
    """What to give to a future as its exception."""
    return Raised(error) if issubclass(type(error), (GeneratorExit, StopIteration)) else error


def own_error(error: BaseException) -> BaseException:
    """The exception that user code raised: of Raised, and of the RuntimeError by which Python replaces StopIteration."""
    if type(error) is Raised:
        return error.error
    if type(error) is RuntimeError and error.args in _REPLACED and issubclass(type(error.__cause__), _STOPS):
        assert error.__cause__ is not None
        return error.__cause__
    return error
