"""app: the command group; it imports the verb that is asked for and turns every error into one line, of text or JSON, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import ClassVar

import click

from stepflow.cli import exit_codes
from stepflow.cli.interrupts import interrupted
from stepflow.cli.refusals import wants_json, write_refusal, write_wrong_use
from stepflow.cli.verbs import Verbs
from stepflow.errors import StepflowError

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


# What DBOS, Temporal, Prefect and others call the verbs.
OTHER_WORDS = {
    "show": ("describe", "get", "history", "info", "inspect", "log", "logs", "status", "steps"),
    "list": ("ls", "ps", "runs", "workflows"),
    "cancel": ("abort", "kill", "stop", "terminate"),
    "publish": ("event", "send", "signal"),
    "prune": ("delete", "gc", "purge", "remove", "rm"),
    "rewind": ("reset",),
    "redrive": ("restart",),
    "schedule": ("cron", "schedules"),
    "serve": ("server", "ui"),
    "tail": ("watch",),
    "migrate": ("init",),
}


class ImportedVerbs(Verbs):
    """Imports the verb that is asked for: a worker that restarts does not wait for the code of the others."""

    elsewhere: ClassVar[Mapping[str, str]] = {word: verb for verb, words in OTHER_WORDS.items() for word in words}

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The names of all verbs."""
        return list(VERBS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """The verb of this name."""
        if name not in VERBS:
            return None
        module, attribute = ELSEWHERE.get(name, (name, "command"))
        command: click.Command = getattr(import_module(f"stepflow.cli.{module}"), attribute)
        command.epilog = exit_codes.of_verb(name)
        return command

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit codes, which every verb has."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in exit_codes.EXIT_CODES.items()])


@click.group(
    cls=ImportedVerbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="stepflow")
def app() -> None:
    """Durable workflows: start, advance and inspect runs."""


def run(args: Sequence[str] | None = None) -> int:
    """Run the command with `args` (None: `sys.argv`); returns the exit code."""
    args = sys.argv[1:] if args is None else args
    as_json = wants_json(args)
    try:
        code = app.main(args, prog_name="stepflow", standalone_mode=False)
    except click.ClickException as wrong:
        write_wrong_use(wrong, as_json=as_json)
        return wrong.exit_code
    except (click.Abort, KeyboardInterrupt):
        return interrupted(args)
    except StepflowError as error:
        write_refusal(error, as_json=as_json)
        return exit_codes.REFUSED
    return code if isinstance(code, int) else exit_codes.DONE
