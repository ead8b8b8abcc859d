"""values: types of command line values: JSON, durations, labels, limits, timestamps and places in a history."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timedelta
from typing import Any

import click

from stepflow.model.limits import Limit
from stepflow.model.suggest import suggest

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Choice(click.Choice):  # type: ignore[type-arg]  # before click 8.2 it takes none
    """One of several texts; a similar one is suggested."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The text that was chosen."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as wrong:
            similar = suggest(str(value), map(str, self.choices))
            hint = f" Did you mean {similar!r}?" if similar else ""
            raise click.BadParameter(f"{wrong.message}{hint}", ctx, param) from None


def json_text(value: str) -> str:
    """JSON text, or `-` to read it from stdin; returns the text after a check."""
    text = value
    try:
        text = sys.stdin.read() if value == "-" else value
        json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(
            f"{text[:60]!r} is not JSON: {error}; a string needs double quotes of its own: {_quoted(text)}"
        ) from error
    return text


def _quoted(text: str) -> str:
    """How a text is given, as a word of a shell; an example of one that is long, or seems to be other JSON."""
    plain = len(text) <= 40 and text.isprintable() and not set(text) & set("'\"\\[]{}")
    return f"'\"{text if plain and text else 'Ada'}\"'"


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def duration(value: str) -> timedelta:
    """A number with a unit: 90s, 15m, 12h, 30d, 2w."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", value)
    if found is None:
        raise click.BadParameter(f"{value!r}: give a number and a unit: 90s, 15m, 12h, 30d, 2w")
    try:
        return timedelta(**{UNITS[found[2]]: float(found[1])})
    except OverflowError:
        raise click.BadParameter(f"{value!r}: this duration is too long: give e.g. 30d") from None


def label(value: str) -> tuple[str, str]:
    """`key=value` as a pair."""
    key, equals, text = value.partition("=")
    if not key or not equals:
        raise click.BadParameter(f"{value!r}: give key=value")
    return key, text


def limit(value: str) -> Limit:
    """`key=3` for three runs at a time, `key=100/60s` for a hundred starts in any 60 seconds."""
    key, _equals, numbers = value.partition("=")
    number, slash, per = numbers.partition("/")
    if not number.isdecimal():
        raise click.BadParameter(f"{value!r}: give key=3 (at a time) or key=100/60s (starts in any 60 seconds)")
    try:
        return Limit(key, rate=int(number), per=duration(per)) if slash else Limit(key, int(number))
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}") from None


def timestamp(value: str) -> datetime:
    """A point in time, ISO 8601 with an offset: 2030-01-31T08:00+01:00."""
    problem = click.BadParameter(f"{value!r}: give a time with its offset, e.g. 2030-01-31T08:00+01:00")
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise problem from None
    if found.tzinfo is None:
        raise problem
    return found


def one_place(rev: int | None, step: str | None) -> None:
    """Raises UsageError unless one of `--rev` and `--step` is given."""
    if (rev is None) == (step is None):
        raise click.UsageError(
            "give --rev N or --step STEP, one of the two: `stepflow show ID` prints revisions and positions"
        )
