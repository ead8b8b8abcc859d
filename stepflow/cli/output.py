"""Output: prints a table on a terminal, tab-separated lines in a pipe, or JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from attrs import frozen

from stepflow.model.safe_text import showable
from stepflow.wire.json_form import to_json_value

COLOURS: Mapping[str, str] = {
    "completed": "green",
    "failed": "red",
    "blocked": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "waiting": "magenta",
    "sleeping": "blue",
}
IDS = ("id", "run", "e.g. run")  # columns that are never cut or folded: people copy ids
LINES = "\n\t"  # control characters that lay a text out
LONGEST = 4_000  # characters of a value that is shown in a terminal
LEAST = 10  # columns of the others in a terminal that is too narrow


@frozen
class Output:
    """Prints to stdout; with `json` only JSON documents."""

    json: bool = False

    def value(self, value: Any) -> None:
        """Print one JSON document on one line."""
        _write(json.dumps(to_json_value(value), ensure_ascii=False))

    def line(self, text: str) -> None:
        """Print a line of text, unless the output is JSON."""
        if not self.json:
            _write(showable(text, LINES))

    def fact(self, name: str, value: Any) -> None:
        """Print a value behind its name, unless it is empty; in a terminal only the beginning of a long one."""
        text = cell(value)
        if len(text) > LONGEST and sys.stdout.isatty():
            text = f"{text[:LONGEST]}… ({len(text):,} characters: --json has all of them)"
        if text:
            self.line(f"{name:9} {text}")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Print rows under their headings; `cell` formats each value."""
        texts = [[cell(value) for value in row] for row in rows]
        if not sys.stdout.isatty():
            for row in [list(columns), *texts]:
                self.line("\t".join(" ".join(text.split()) for text in row))
            return
        from rich.console import Console  # noqa: PLC0415 - needs the extra, and takes a while
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table, needed = Table(box=None, header_style="bold", pad_edge=False), 0
        for number, heading in enumerate(columns):
            longest = max((len(row[number]) for row in texts), default=0)
            least = longest if heading in IDS else min(longest, LEAST)
            needed += max(least, len(heading)) + 1
            table.add_column(heading, overflow="fold", min_width=least, no_wrap=heading in IDS)
        for row in texts:
            table.add_row(*(Text(text, style=COLOURS.get(text, "")) for text in row))
        wide = max(Console().width, needed)  # a line that is too long is wrapped by the terminal
        Console(highlight=False, width=wide).print(table, soft_wrap=True)


def _write(line: str) -> None:
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, e.g. `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(0) from None


def cell(value: Any) -> str:
    """A value as text for people: times to the second in UTC, which the Z says, empty for None."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    text = json.dumps(to_json_value(value), ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    return showable(text, LINES)
