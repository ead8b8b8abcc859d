"""settings: the settings of a verb from a TOML file and from the environment, each checked before it is used."""

from __future__ import annotations

import json
import logging
import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

PREFIX = "STEPFLOW"
NO_SETTINGS = ("config", "print_config")
SIMILAR = 0.75
"""Least similarity to suggest a name: ORIGIN for ORIGINS, PROT for PORT, but not HOSTNAME for HOST."""
SERVICE = re.compile(r"(tcp|udp|sctp)://")
"""How a value begins that Kubernetes puts into STEPFLOW_PORT if a service beside the pod has the name `stepflow`."""
log = logging.getLogger("stepflow.server")


class PortOption(click.Option):
    """A port, of which a variable that Kubernetes set says nothing: it is the address of a service, in each pod beside that."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """The variable's value, if it was set for this option."""
        value = super().resolve_envvar_value(ctx)
        return None if value is None or SERVICE.match(value) else value


def read_config(context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """The callback of `--config`: settings of a TOML file become the defaults of the options."""
    if path is None:
        return None
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} is no TOML: {error}") from error
    options = {
        one.name: one
        for one in context.command.params
        if isinstance(one, click.Option) and one.name and one.name not in NO_SETTINGS
    }
    if unknown := sorted(settings.keys() - options):
        similar = get_close_matches(unknown[0], options, n=1, cutoff=SIMILAR)
        raise click.BadParameter(f"{path}: {unknown[0]!r} is no setting: use {', '.join(similar or sorted(options))}")
    for name, value in settings.items():
        if problem := _problem(context, options[name], value):
            raise click.BadParameter(f"{path}: {name} = {json.dumps(value, default=str)}: {problem}")
    context.default_map = settings
    return path


def _problem(context: click.Context, option: click.Option, value: Any) -> str:
    """Why the option does not take this value of a TOML file, and what to give; empty if it does."""
    if option.multiple:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return ""
        example = value if isinstance(value, str) else option.metavar
        return f"give a list of texts, e.g. {option.name} = {json.dumps([example])}"
    if option.is_flag:
        return "" if isinstance(value, bool) else "give true or false"
    if isinstance(option.type, click.types.IntParamType):
        if type(value) is not int:
            return f"give a whole number, e.g. {option.name} = {option.default}"
    elif not isinstance(value, str):
        return "give a text in quotes"
    try:
        option.type.convert(value, option, context)
    except click.BadParameter as error:
        return error.message
    return ""


def warn_of_ignored_variables(command: click.Command, environment: Mapping[str, str] = os.environ) -> None:
    """Log a warning for each variable that is none of the verb, but similar to one (other programs may have theirs), and for a port of Kubernetes."""
    known = {f"{PREFIX}_{one.name}".upper() for one in command.params}
    for one in command.params:
        variable = f"{PREFIX}_{one.name}".upper()
        if isinstance(one, PortOption) and SERVICE.match(value := environment.get(variable, "")):
            log.warning(
                "the variable %s=%s is ignored, which Kubernetes sets for a service of that name: give --port for another port, or set"
                " enableServiceLinks: false in the pod",
                variable, value,
            )  # fmt: skip
    names = {variable.removeprefix(f"{PREFIX}_"): variable for variable in known}
    for variable in sorted(environment.keys() - known):
        if variable.startswith(f"{PREFIX}_"):
            for name in get_close_matches(variable.removeprefix(f"{PREFIX}_"), names, n=1, cutoff=SIMILAR):
                log.warning("the variable %s is ignored: did you mean %s?", variable, names[name])
