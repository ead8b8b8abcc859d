"""Import errors that name the new module: what an import of a module of the port or of the kit under its former name raises."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib.abc import MetaPathFinder
from types import MappingProxyType
from typing import Any

MOVED: Mapping[str, str] = MappingProxyType(
    {
        "stepflow.drivers.base": "stepflow.drivers.port.store",
        "stepflow.drivers.values": "stepflow.drivers.port.commit, queries from stepflow.drivers.port.queries",
        "stepflow.drivers.shapes": "stepflow.drivers.port.step",
        "stepflow.drivers.attached": "stepflow.drivers.port.delays",
        "stepflow.drivers.posted": "stepflow.drivers.port.inbox",
        "stepflow.drivers.urls": "stepflow.drivers.registry",
        "stepflow.testing.conformance.machine": "stepflow.testing.conformance",
        "stepflow.testing.conformance.control_machine": "stepflow.testing.conformance",
        "stepflow.testing.conformance.crashes": "stepflow.testing.conformance",
    }
)
"""Former module -> where its names are imported from."""


class MovedModules(MetaPathFinder):
    """Is asked last for a module that was not found; answers for the former names only, with an ImportError."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:  # noqa: ARG002 - the import system's
        if fullname in MOVED:
            text = f"{fullname} was moved: import its names from {MOVED[fullname]}; CHANGELOG.md has a table"
            raise ImportError(text, name=fullname)


def install() -> None:
    """Let imports of the former names fail with the new ones."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())


def moved_name(package: str, moved: str, new: str) -> Callable[[str], Any]:
    """The `__getattr__` of a package that has the name of a former module: `moved` is imported from `new`."""

    def missing(name: str) -> Any:
        if name == moved:
            raise ImportError(
                f"{package}.{name} was moved: import it from {new}; CHANGELOG.md has a table", name=package
            )
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return missing
