"""The verb `token`: makes a bearer token for `stepflow serve`."""

from __future__ import annotations

import json

import click

from stepflow.cli.extras import without_extra
from stepflow.cli.output import Output
from stepflow.cli.values import Choice


@click.command("token")
@click.argument("name")
@click.option(
    "--scope",
    type=Choice(["read", "operate", "admin"]),
    default="operate",
    show_default=True,
    help="What it may do: read, change runs and States, too, or administer.",
)
@click.option(
    "--only", "namespaces", multiple=True, metavar="NAMESPACE", help="Allow this namespace alone; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str, scope: str, namespaces: tuple[str, ...], as_json: bool) -> int:
    """Make a token for the program or person NAME.

    Prints the secret, which is kept nowhere, and the lines for the file that `stepflow serve --tokens` reads.
    """
    try:
        from stepflow.server import digest, new_secret  # noqa: PLC0415 - optional packages
        from stepflow.server.namespaces import NAME  # noqa: PLC0415
    except ImportError as error:
        raise without_extra("token", "server", error) from error
    if not name or not name.isprintable():
        raise click.BadParameter(f"{name!r:.80}: give a text that can be printed, e.g. billing", param_hint="NAME")
    if wrong := [one for one in namespaces if one and not NAME.fullmatch(one)]:
        raise click.BadParameter(f"{wrong[0]!r:.120}: use letters, digits, '.', '_' and '-'", param_hint="--only")
    secret = new_secret()
    lines = [f"[{json.dumps(name, ensure_ascii=False)}]", f'sha256 = "{digest(secret)}"', f'scope = "{scope}"']
    if namespaces:
        lines.append(f"namespaces = {json.dumps(list(namespaces))}")
    out = Output(json=as_json)
    if as_json:
        out.value({"secret": secret, "entry": "\n".join(lines)})
    else:
        out.line(f"secret, for the client: {secret}\n")
        out.line("for the file of --tokens:\n")
        out.line("\n".join(lines))
    return 0
