"""app: the command group; it collects the verbs and turns every error into one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from stepflow.cli import (
    cancel,
    check,
    diagram,
    doctor,
    explain,
    migrate,
    prune,
    publish,
    resolve,
    retry,
    schedule,
    show,
    start,
    tail,
    worker,
)
from stepflow.cli import list as list_
from stepflow.errors import DefinitionError, StepflowError

EXIT_CODES = """
\b
Exit codes:
  0    done
  1    refused by the library or the store; the message names the fix
  2    wrong use of this command
  3    a check found problems
  130  interrupted
"""


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="stepflow")
def app() -> None:
    """Durable workflows: start, advance and inspect runs."""


for verb in (
    worker,
    list_,
    show,
    tail,
    explain,
    start,
    publish,
    cancel,
    retry,
    resolve,
    schedule,
    diagram,
    check,
    prune,
    migrate,
    doctor,
):
    app.add_command(verb.command)


def run(args: Sequence[str] | None = None) -> int:
    """Run the command with `args` (None: `sys.argv`); returns the exit code."""
    try:
        code = app.main(args, prog_name="stepflow", standalone_mode=False)
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except StepflowError as error:
        sys.stderr.write(f"error: {one_line(error)}\n")
        return 1
    return code if isinstance(code, int) else 0


def one_line(error: StepflowError) -> str:
    """The error's message without line breaks."""
    lines = error.problems if isinstance(error, DefinitionError) else str(error).splitlines()
    return "; ".join(line.strip() for line in lines) or type(error).__name__
