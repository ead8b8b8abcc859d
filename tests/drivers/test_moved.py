"""Former modules of the port and of the kit: an import names the new module, and nothing else is touched."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module, reload

import pytest

import stepflow.drivers
from stepflow.drivers.moved import MOVED, MovedModules


@pytest.mark.parametrize("former", MOVED)
def test_an_import_of_a_former_module_names_the_new_one(former):
    with pytest.raises(ImportError, match=re.escape(f"{former} was moved: import its names from {MOVED[former]};")):
        import_module(former)
    for new in re.findall(r"stepflow[\w.]+", MOVED[former]):
        assert import_module(new).__name__ == new


def test_every_form_of_import_is_answered():
    with pytest.raises(ImportError, match=r"from stepflow\.drivers\.port\.store;"):
        from stepflow.drivers import base  # noqa: F401
    with pytest.raises(ImportError, match=r"from stepflow\.drivers\.port\.store;"):
        from stepflow.drivers.base import Driver  # noqa: F401
    with pytest.raises(ImportError, match=r"from stepflow\.drivers\.registry;"):
        import stepflow.drivers.urls  # noqa: F401


@pytest.mark.parametrize(
    ("package", "name"), [("laws", "DriverLaws"), ("processes", "ProcessLaws"), ("cases", "EngineCases")]
)
def test_a_package_with_the_name_of_a_former_module_names_the_new_place(package, name):
    module = import_module(f"stepflow.testing.conformance.{package}")
    with pytest.raises(ImportError, match=f"{name} was moved: import it from stepflow.testing.conformance;"):
        getattr(module, name)
    assert not hasattr(module, "Nothing")


def test_a_former_module_of_the_kit_is_named_without_an_import_of_the_port():
    command = [sys.executable, "-c", "import stepflow.testing.conformance.control_machine"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "control_machine was moved: import its names from stepflow.testing.conformance;" in found.stderr


@pytest.mark.parametrize(("name", "package"), [("DriverLaws", "pytest"), ("DriverMachine", "hypothesis")])
def test_the_kit_names_the_extra_that_it_needs(name, package):
    text = f"import sys; sys.modules[{package!r}] = None\nfrom stepflow.testing.conformance import {name}"
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert f'{name} needs {package}: pip install "stepflow[testing]"' in found.stderr


def test_other_names_are_not_found_as_ever():
    for name in ("stepflow.drivers.bases", "stepflow.base", "base"):
        with pytest.raises(ModuleNotFoundError, match=f"No module named '{name}'"):
            import_module(name)
    assert not hasattr(stepflow.drivers, "base")


def test_it_is_installed_once():
    reload(stepflow.drivers)
    assert sum(isinstance(finder, MovedModules) for finder in sys.meta_path) == 1
