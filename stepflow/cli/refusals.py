"""refusals: writes to stderr why a verb was refused, as a line of text or, with `--json`, as one JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

from stepflow.cli.exit_codes import REFUSED
from stepflow.cli.variables import remedy, variable_of
from stepflow.errors import DefinitionError, StepflowError
from stepflow.model.error_text import notes_of

WRONG_USE_ERROR = "UsageError"  # the `error` of a wrong use


def write_refusal(error: StepflowError, *, as_json: bool, **subject: str) -> None:
    """An error of the library; `subject` tells in JSON which of several runs was refused."""
    if as_json:
        _write_json(type(error).__name__, one_line(error), REFUSED, **subject)
    else:
        sys.stderr.write(f"error: {one_line(error)}\n")


def write_wrong_use(wrong: click.ClickException, *, as_json: bool) -> None:
    """What click found wrong."""
    if isinstance(wrong, click.BadParameter) and (variable := variable_of(wrong.ctx, wrong.param)):
        wrong = click.UsageError(f"{wrong.format_message().rstrip('.')}; {remedy(variable)}", wrong.ctx)
    if as_json:
        _write_json(WRONG_USE_ERROR, " ".join(wrong.format_message().split()), wrong.exit_code)
    else:
        wrong.show()


def wants_json(args: Sequence[str]) -> bool:
    """Whether `--json` is among the options: also of a command line that is so wrong that it was not read to its end."""
    options = args[: args.index("--")] if "--" in args else args
    return "--json" in options


def one_line(error: StepflowError) -> str:
    """The error's message and its notes without line breaks."""
    lines = list(error.problems) if isinstance(error, DefinitionError) else str(error).splitlines()
    lines += [line for note in notes_of(error) for line in note.splitlines()]
    return "; ".join(line.strip() for line in lines) or type(error).__name__


def _write_json(error: str, message: str, exit_code: int, **subject: str) -> None:
    told = {**subject, "error": error, "message": message, "exit_code": exit_code}
    sys.stderr.write(f"{json.dumps(told, ensure_ascii=False)}\n")
