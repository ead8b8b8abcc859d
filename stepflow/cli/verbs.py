"""Verbs: a group of verbs that names the most similar one when it is given an unknown one."""

from __future__ import annotations

import click

from stepflow.steps.suggest import suggest

WHOLE = 1000  # characters of the first sentence of a help: all of them


class Verbs(click.Group):
    """The verbs of a command."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs, each with the whole first sentence of its help."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(WHOLE)) for name, command in commands if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that the first argument names."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            similar = suggest(args[0], self.list_commands(ctx))
            ctx.fail(f"No such command {args[0]!r}" + (f": did you mean {similar!r}?" if similar else "."))
        return super().resolve_command(ctx, args)
