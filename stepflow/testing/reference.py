"""reference: interprets a scripted chain by plain recursion instead of a compiled table; the oracle of property tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stepflow.testing.script import Boom, Item, Script


class _GroupRestart(Exception):
    """A retry group starts again; the argument is its scope."""


Group = tuple[str, Item, dict[str, int]]


def interpret(script: Script, name: str, exchange: dict[str, Any]) -> Iterator[list[str]]:
    """Run a script to its end, yielding the position before each call; a call that no group retries is repeated."""
    at = [f"start:{name}"]
    yield from _sequence(script, name, (), exchange, at)
    yield at


def _sequence(
    script: Script, scope: str, groups: tuple[Group, ...], ex: dict[str, Any], at: list[str]
) -> Iterator[list[str]]:
    for item in script:
        yield from _item(item, f"{scope}/{item.scope}", groups, ex, at)


def _item(item: Item, here: str, groups: tuple[Group, ...], ex: dict[str, Any], at: list[str]) -> Iterator[list[str]]:
    if item.kind == "do":
        yield from _call(item, groups, ex, at)
        at[:] = [f"completed:{here}"]
    elif item.kind == "wait_for":
        while not (yield from _call(item, groups, ex, at)):
            at[:] = [f"start:{here}"]
        at[:] = [f"completed:{here}"]
    elif item.kind == "steps":
        yield from _sequence(item.inner, here, groups, ex, at)
    elif item.kind == "case":
        met = yield from _call(item, groups, ex, at)
        at[:] = [f"start:{here}/steps" if met else f"completed:{here}"]
        yield from _sequence(item.inner if met else (), f"{here}/steps", groups, ex, at)
    elif item.kind == "loop_until":
        yield from _sequence(item.inner, f"{here}/steps", groups, ex, at)
        while not (yield from _call(item, groups, ex, at)):
            at[:] = [f"start:{here}/steps"]
            yield from _sequence(item.inner, f"{here}/steps", groups, ex, at)
        at[:] = [f"completed:{here}"]
    else:
        yield from _retry(item, here, groups, ex, at)


def _retry(item: Item, here: str, groups: tuple[Group, ...], ex: dict[str, Any], at: list[str]) -> Iterator[list[str]]:
    counted: dict[str, int] = {}
    while True:
        try:
            return (yield from _sequence(item.inner, here, ((here, item, counted), *groups), ex, at))
        except _GroupRestart as restart:
            if restart.args[0] != here:
                raise
            at[:] = [f"start:{here}"]


def _call(item: Item, groups: tuple[Group, ...], ex: dict[str, Any], at: list[str]) -> Any:
    while True:
        yield [at[0], *(f"attempt:{n}:{scope}" for _, _, counted in groups for scope, n in counted.items())]
        try:
            return item.call(ex)
        except Boom as boom:
            error = boom
        for scope, group, counted in groups:
            try:
                if group.attempts and counted.get(scope, 1) < group.attempts:
                    counted[scope] = counted.get(scope, 1) + 1
                    raise _GroupRestart(scope)
                if not group.attempts and group.call(ex, error):
                    raise _GroupRestart(scope)
            except Boom as boom:
                error = boom
