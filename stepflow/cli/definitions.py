"""definitions: finds flow definitions in the user's modules: `shop.flows` or `shop.flows:order_flow`."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import click

from stepflow.errors import StepflowError
from stepflow.model.flow import Flow

MODULE_HELP = "a module such as shop.flows, or one name in it such as shop.flows:order_flow"


def flows_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds `--flows`, for verbs that can do without definitions; the verb gets the names of modules as `modules`."""
    text = f"Module with flows {what}; may be given several times.  [env: STEPFLOW_FLOWS]"
    return click.option("--flows", "modules", multiple=True, metavar="MODULE", envvar="STEPFLOW_FLOWS", help=text)


def flows_of(target: str, hint: str = "") -> list[Flow[Any, Any]]:
    """Every definition at the top level of a module, or the one that `module:name` names; `hint` says what a name that is no module may be."""
    name, colon, attribute = target.partition(":")
    if colon and not attribute:
        raise click.UsageError(f"{target!r} names nothing after the colon: give {name}, or {name}:order_flow")
    module = _import(
        name,
        "" if colon else f"; if it is a flow, name its module, too: MODULE:{name}{hint}",
    )
    found = {key: value for key, value in vars(module).items() if isinstance(value, Flow)}
    if attribute:
        return [_named(module, attribute, found)]
    if not found:
        chains = [key for key, value in vars(module).items() if callable(getattr(value, "compile", None))]
        uncompiled = f"; {', '.join(chains)}: call .compile() on the chain" if chains else ""
        raise click.UsageError(f"{target} defines no flow at its top level{uncompiled}")
    return list({id(flow): flow for flow in found.values()}.values())


def distinct_flows(modules: Iterable[str]) -> list[Flow[Any, Any]]:
    """The definitions of several modules, those of a name once."""
    return list({flow.name: flow for module in modules for flow in flows_of(module)}.values())


def flow_of(target: str, hint: str = "") -> Flow[Any, Any]:
    """The one definition that `target` names; `hint` is that of `flows_of`."""
    flows = flows_of(target, hint)
    if len(flows) > 1:
        names = ", ".join(sorted(flow.name for flow in flows))
        raise click.UsageError(f"{target} defines several flows ({names}): name one, e.g. {target}:order_flow")
    return flows[0]


def stages_of(target: str) -> list[Any]:
    """The list of payload stages that `module:name` names."""
    name, _colon, attribute = target.partition(":")
    found = getattr(_import(name), attribute, None) if attribute else None
    if not isinstance(found, list):
        raise click.UsageError(f"--payload {target}: give the list of stages of an engine, e.g. shop.keys:stages")
    return found


def _import(name: str, hint: str = "") -> ModuleType:
    """Import a module as `python -m` would, the current directory first; `hint` follows if there is none of this name."""
    if problem := _name_problem(name):
        raise click.UsageError(problem)
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds texts
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name and (name == missing.name or name.startswith(f"{missing.name}.")):
            raise click.UsageError(f"there is no module {name!r} in {os.getcwd()} or on PYTHONPATH{hint}") from None  # noqa: PTH109
        raise _broken(name, missing) from missing
    except StepflowError:  # a wrong definition: the message names its path
        raise
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _name_problem(name: str) -> str:
    """Why `name` cannot be a module's name, empty if it can."""
    if name.endswith(".py") or "/" in name:
        return f"{name!r} is a path: give the module's name, {name.removesuffix('.py').strip('./').replace('/', '.')}"
    if not all(part.isidentifier() for part in name.split(".")):
        return f"{name!r} is not a module name: give one such as shop.flows"
    return ""


def _broken(name: str, error: Exception | SystemExit) -> StepflowError:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where, what = f"{frame.filename}:{frame.lineno}", f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename:
        where, what = f"{error.filename}:{error.lineno}", f"SyntaxError: {error.msg}"
    if isinstance(error, SystemExit):
        what = 'it exits the program: put code that is not a definition under `if __name__ == "__main__":`'
    return StepflowError(f"{name} cannot be imported: {what} ({where})")


def _named(module: ModuleType, attribute: str, found: dict[str, Flow[Any, Any]]) -> Flow[Any, Any]:
    by_name = found | {flow.name: flow for flow in found.values()}
    if attribute not in by_name:
        near = get_close_matches(attribute, by_name, n=1)
        hint = f": did you mean {near[0]}?" if near else f"; it defines {', '.join(sorted(found)) or 'none'}"
        raise click.UsageError(f"{module.__name__} has no flow {attribute!r}{hint}")
    return by_name[attribute]
