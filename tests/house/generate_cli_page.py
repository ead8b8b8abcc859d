"""Generates the verbs and exit codes of docs/reference/cli.md from the commands: `python -m tests.house.generate_cli_page`.

What is between the two marks of the page is written anew; the text around them is written by hand. The options that many
verbs have are described once.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from attrs import frozen

from stepflow.cli.app import app
from stepflow.cli.exit_codes import ATTENTION, EXIT_CODES, OF_VERBS
from stepflow.cli.filters import on_many, with_filter
from stepflow.cli.target import with_store

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "cli.md"
COMMAND = "make generate"
BEGIN, END = f"<!-- made of the commands by `{COMMAND}`: do not edit -->\n", "<!-- until here -->\n"

GUIDES: Mapping[str, str] = {
    "audit": "[who changed what](../howto/operator-api.md#the-audit)",
    "cancel": "[find and mend many runs](../howto/many-runs.md)",
    "check": "[deploy new versions](../howto/deploys.md)",
    "doctor": "[operate](../howto/operate.md), [is a worker alive?](../howto/process-managers.md#is-a-worker-alive)",
    "explain": "[operate](../howto/operate.md)",
    "fork": "[go back to an earlier step](../howto/fork.md)",
    "host": "[execute functions on other hosts](../howto/remote-flows.md)",
    "list": "[find and mend many runs](../howto/many-runs.md#on-the-command-line)",
    "migrate": "[distribute a store with Citus](../howto/citus.md)",
    "move": "[deploy new versions](../howto/deploys.md)",
    "pause": "[pause runs and flows](../howto/pause.md)",
    "publish": "[wait for conditions and events](../howto/waits-and-events.md)",
    "publish-topic": "[write workflows](../howto/workflows.md)",
    "redrive": "[find and mend many runs](../howto/many-runs.md)",
    "resolve": "[a call that must not be repeated](../howto/call-it-once.md#a-call-that-must-not-be-repeated)",
    "resume": "[pause runs and flows](../howto/pause.md)",
    "rewind": "[go back to an earlier step](../howto/fork.md)",
    "schedule": "[start runs on a schedule](../howto/schedules.md)",
    "serve": "[serve a store over HTTP](../howto/server.md)",
    "show": "[where the time went](../howto/operate.md#where-the-time-went)",
    "start": "[control how many runs go at a time](../howto/flow-control.md)",
    "token": "[serve a store over HTTP](../howto/server.md)",
    "wake": "[find and mend many runs](../howto/many-runs.md)",
    "worker": "[under a process manager](../howto/process-managers.md)",
}
"""Verb -> the guide that tells more of it."""


@frozen
class Shared:
    """Options that many verbs have: the heading that describes them, and what a verb says instead."""

    heading: str
    text: str
    instead: str
    options: tuple[str, ...]


def lines_of(command: click.Command) -> list[str]:
    """A row of a table for each option of a command but `--help`."""
    context = click.Context(command)
    records = [one.get_help_record(context) for one in command.params if isinstance(one, click.Option)]
    return [_row(*record) for record in records if record is not None]


def _row(names: str, text: str) -> str:
    """A row of options: what click puts in brackets behind the help (default, range, variable) has a column of its own."""
    facts = re.findall(r"\[([^][]*)\](?=(?:\s*\[[^][]*\])*$)", text)
    said = re.sub(r"(\s*\[[^][]*\])+$", "", text)
    return f"| `{_cell(names)}` | {_cell(_prose(said))} | {_cell('; '.join(facts))} |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _prose(text: str) -> str:
    """A help as Markdown: options in it are code."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"(?<![\w-])--[a-z][a-z-]*", r"`\g<0>`", part) for part in parts[::2]]
    return "`".join(parts)


def _added(*decorators: Callable[..., Any]) -> tuple[str, ...]:
    """The rows of the options that these decorators add to a verb."""

    def verb() -> None:
        """Nothing."""

    for decorator in decorators:
        verb = decorator(verb)
    return tuple(lines_of(click.command("verb")(verb)))


SHARED = (
    Shared(
        "Options of the store",
        "Verbs with these options take the URL of a [store](stores.md) or of a [server](../howto/server.md).",
        "the [options of the store](#options-of-the-store)",
        _added(with_store),
    ),
    Shared(
        "Options of a filter",
        "Of several options, all must fit. A TIME is ISO 8601 with an offset, an AGE such as `90m` is that long ago.",
        "the [options of a filter](#options-of-a-filter)",
        _added(with_filter),
    ),
    Shared(
        "Options of a change of many runs",
        "A verb that takes ids or a filter lists the runs of the filter, and changes them with `--yes`.",
        "the [options of a change of many runs](#options-of-a-change-of-many-runs)",
        tuple(row for row in _added(on_many) if row not in _added(with_filter)),
    ),
)


def verbs_of(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every verb by its name, those of a group behind it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{before}{name}", command
        if isinstance(command, click.Group):
            yield from verbs_of(command, f"{name} ")


def _table(head: Iterable[str], rows: Iterable[str]) -> list[str]:
    names = list(head)
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|", *rows, ""]


def _options(rows: list[str]) -> list[str]:
    """The table of a verb's own options, and where the others are described."""
    there, own = [], rows
    for shared in SHARED:
        if set(shared.options) - {_flow_of_filter()} <= set(own):
            there.append(shared.instead)
            own = [row for row in own if row not in shared.options]
    lines = _table(("option", "what it does", "value"), own) if own else []
    also = f"{', '.join(there[:-1])}{' and ' * (len(there) > 1)}{there[-1]}." if there else ""
    return [*lines, *([f"{'Also ' if own else 'It has '}{also}", ""] if also else [])]


def _flow_of_filter() -> str:
    """The option of a filter that verbs may have in another form."""
    return next(row for row in SHARED[1].options if row.startswith("| `--flow "))


def _section(name: str, command: click.Command) -> list[str]:
    """What the page has of a verb: usage, help, options, exit codes of its own, and its guide."""
    context = click.Context(command, info_name=f"stepflow {name}")
    usage = " ".join([f"stepflow {name}", *command.collect_usage_pieces(context)])
    text = inspect.cleandoc(command.help or "").split("\f")[0].strip()
    paragraphs = [_prose(" ".join(part.split())) for part in text.split("\n\n")]
    lines = [f"### {name}", "", "```text", usage, "```", "", *(line for one in paragraphs for line in (one, ""))]
    lines += _options(lines_of(command))
    for code, meaning in OF_VERBS.get(name, {}).items():
        lines += [f"Exit code {code}: {_prose(meaning)}.", ""]
    return [*lines, f"The guide: {GUIDES[name]}.", ""] if name in GUIDES else lines


def _code(row: tuple[int, str, str]) -> str:
    code, verbs, meaning = row
    return f"| {code} | {verbs} | {_cell(_prose(meaning))} |"


def generated() -> str:
    """The text between the marks."""
    verbs = dict(verbs_of(app))
    rows = [
        f"| [`{name}`](#{name.replace(' ', '-')}) | {_cell(_prose(command.get_short_help_str(1000)))} |"
        for name, command in verbs.items()
    ]
    codes = [(code, "all", meaning) for code, meaning in EXIT_CODES.items() if code != ATTENTION]
    codes += [(code, f"`{verb}`", text) for verb, of in OF_VERBS.items() for code, text in of.items()]
    lines = ["## Verbs", "", *_table(("verb", "what it does"), rows)]
    lines += [
        "## Exit codes",
        "",
        *_table(("code", "verbs", "meaning"), map(_code, sorted(codes, key=lambda row: (row[0], row[1] != "all")))),
    ]
    for shared in SHARED:
        lines += [f"## {shared.heading}", "", shared.text, ""]
        lines += _table(("option", "what it does", "value"), shared.options)
    lines += ["## Each verb", ""]
    lines += [line for name, command in verbs.items() for line in _section(name, command)]
    return "\n".join(lines)


def page_of(page: str) -> str:
    """The page with what is between its marks made anew."""
    before, begin, rest = page.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise AssertionError(f"{PAGE} needs the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{generated()}\n{END}{after}"


def main() -> None:
    """Write the page if it differs, and name it."""
    text = PAGE.read_text()
    if text != (new := page_of(text)):
        PAGE.write_text(new)
        print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
