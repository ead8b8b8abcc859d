"""variables: tells which variable of the environment gave a verb the value that is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource

from stepflow.errors import StepflowError

SHORTEST = 4  # characters of a value that is looked for in a message: a shorter one is found in any


def variable_of(context: click.Context | None, option: click.Parameter | None) -> str:
    """The variable that gave an option its value; empty if the value is from elsewhere."""
    if context is None or option is None or not option.name:
        return ""
    if context.get_parameter_source(option.name) is not ParameterSource.ENVIRONMENT:
        return ""
    names = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
    names += [f"{context.auto_envvar_prefix}_{option.name}".upper()] if context.auto_envvar_prefix else []
    return next((name for name in names if os.environ.get(name)), "")


def remedy(variable: str) -> str:
    """What to do about a value that a variable gave."""
    return f"the variable {variable} says so: change it, or unset it"


def names_variables(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Adds to the refusals of a verb which variables gave the values that they name: no option shows where these are from."""

    @wraps(fn)
    def verb(*args: Any, **options: Any) -> Any:
        try:
            return fn(*args, **options)
        except click.UsageError as wrong:
            message = wrong.format_message()
            if not (found := list(_remedies(message))):
                raise
            raise click.UsageError("; ".join((message.rstrip("."), *found)), wrong.ctx) from wrong
        except StepflowError as error:
            for one in _remedies(str(error)):
                error.add_note(one)
            raise

    return verb


def _remedies(message: str) -> Iterator[str]:
    """What to do about each option that the message names, by its name or value, and that has its value from a variable."""
    context = click.get_current_context()
    for option in context.command.params:
        if (variable := variable_of(context, option)) and any(
            _is_in(text, message) for text in _texts(option, variable)
        ):
            yield remedy(variable)


def _texts(option: click.Parameter, variable: str) -> Iterator[str]:
    """What a message may call an option by: its names, and its value, or a part of that, such as a module."""
    given = os.environ[variable]
    yield from (*option.opts, f"{option.name}=")
    for value in (given, given.partition(":")[0], *(given.split() if option.multiple else ())):
        if len(value) >= SHORTEST:
            yield value


def _is_in(text: str, message: str) -> bool:
    """Whether a text is in the message, and not inside a longer word."""
    return (
        re.search(rf"(?<![\w-]){re.escape(text)}" + (r"(?![\w-])" if text[-1:].isalnum() else ""), message) is not None
    )
