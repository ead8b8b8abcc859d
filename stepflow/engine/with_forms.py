"""with_forms: what `with` says of an engine that needs `async with`, and the other way round."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn


class AsyncWith:
    """A class with `async with`, and no `with`."""

    if not TYPE_CHECKING:  # a type checker refuses it

        def __enter__(self) -> NoReturn:
            raise TypeError(f"`with` of {_named(self)}: write `async with`, or use Engine, which blocks")

        def __exit__(self, *_error: object) -> None:
            """Never called: Python looks for it before it enters."""


class BlockingWith:
    """A class with `with`, and no `async with`."""

    if not TYPE_CHECKING:

        async def __aenter__(self) -> NoReturn:
            raise TypeError(
                f"`async with` of {_named(self)}: write `with`, or use AsyncEngine, whose calls are awaited"
            )

        async def __aexit__(self, *_error: object) -> None:
            """Never called: Python looks for it before it enters."""


def _named(self: object) -> str:
    return type(self).__name__.lstrip("_")
