"""Verbs: a group of verbs that names the most similar one when it is given an unknown one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import click

from stepflow.model.suggest import suggest

OF_VERBS = ("--store", "--namespace", "--json")
WHOLE = 1000  # characters of the first sentence of a help: all of them


class Verbs(click.Group):
    """The verbs of a command; `elsewhere` are words by which other tools call them, with the verb that does that here."""

    elsewhere: ClassVar[Mapping[str, str]] = {}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs, each with the whole first sentence of its help."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(WHOLE)) for name, command in commands if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options before the verb; those that stand behind it are told so."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as wrong:
            if wrong.option_name not in OF_VERBS:
                raise
            ctx.fail(f"{wrong.option_name} stands behind the verb: {ctx.command_path} list {wrong.option_name}")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that the first argument names."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            similar = self.elsewhere.get(args[0]) or suggest(args[0], self.list_commands(ctx))
            ctx.fail(f"No such command {args[0]!r}" + (f": did you mean {similar!r}?" if similar else "."))
        return super().resolve_command(ctx, args)
