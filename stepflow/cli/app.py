"""app: the command group; it imports the verb that is asked for and turns every error into one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from stepflow.cli.verbs import Verbs
from stepflow.errors import DefinitionError, StepflowError
from stepflow.model.error_text import notes_of

EXIT_CODES = """
\b
Exit codes:
  0    done
  1    refused by the library or the store; the message names the fix
  2    wrong use of this command
  3    a check found problems
  130  interrupted
"""


# In the order of the help; each is the name of a module beside this one, but for those in ELSEWHERE.
VERBS = (
    "audit",
    "bench",
    "cancel",
    "check",
    "diagram",
    "doctor",
    "explain",
    "fork",
    "host",
    "list",
    "migrate",
    "move",
    "pause",
    "prune",
    "publish",
    "publish-topic",
    "redrive",
    "resolve",
    "resume",
    "retry",
    "rewind",
    "run",
    "schedule",
    "serve",
    "show",
    "start",
    "tail",
    "token",
    "wake",
    "worker",
)


ELSEWHERE = {"publish-topic": ("topic", "command"), "redrive": ("retry", "redrive"), "resume": ("pause", "resume")}


class ImportedVerbs(Verbs):
    """Imports the verb that is asked for: a worker that restarts does not wait for the code of the others."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The names of all verbs."""
        return list(VERBS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """The verb of this name."""
        if name not in VERBS:
            return None
        module, attribute = ELSEWHERE.get(name, (name, "command"))
        command: click.Command = getattr(import_module(f"stepflow.cli.{module}"), attribute)
        return command


@click.group(
    cls=ImportedVerbs,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="stepflow")
def app() -> None:
    """Durable workflows: start, advance and inspect runs."""


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
    """The error's message and its notes without line breaks."""
    lines = list(error.problems) if isinstance(error, DefinitionError) else str(error).splitlines()
    lines += [line for note in notes_of(error) for line in note.splitlines()]
    return "; ".join(line.strip() for line in lines) or type(error).__name__
