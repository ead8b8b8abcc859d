"""Former modules of the port: an import names the new module, and nothing else is touched."""

from __future__ import annotations

import re
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


def test_other_names_are_not_found_as_ever():
    for name in ("stepflow.drivers.bases", "stepflow.base", "base"):
        with pytest.raises(ModuleNotFoundError, match=f"No module named '{name}'"):
            import_module(name)
    assert not hasattr(stepflow.drivers, "base")


def test_it_is_installed_once():
    reload(stepflow.drivers)
    assert sum(isinstance(finder, MovedModules) for finder in sys.meta_path) == 1
