"""Drivers of other packages: found by the scheme of the URL through an entry point."""

from __future__ import annotations

import pytest

from stepflow import Engine
from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.registry import driver_for
from stepflow.errors import StoreError

MODULE = """
from stepflow.drivers.memory import MemoryDriver

class KeptDriver(MemoryDriver):
    def __init__(self, url):
        super().__init__()
        self.url = url

nothing = lambda url: None
"""
ENTRIES = """[stepflow.drivers]
kept = kept_driver:KeptDriver
none = kept_driver:nothing
gone = kept_driver:Missing
lost = no_such_module:Driver
memory = kept_driver:KeptDriver
"""


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    """A package that looks installed to Python."""
    (tmp_path / "kept_driver.py").write_text(MODULE)
    info = tmp_path / "kept-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kept\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(tmp_path)


def test_the_driver_of_a_package_opens_its_urls():
    driver = driver_for("kept://anywhere?option=1")
    assert (type(driver).__name__, driver.url) == ("KeptDriver", "kept://anywhere?option=1")
    with Engine("kept://here") as engine:
        assert engine.runs() == []


def test_a_password_is_not_shown():
    with pytest.raises(StoreError, match=r"'mysql://me:\*\*\*@host/db': there is no driver for mysql://") as error:
        driver_for("mysql://me:s3cr@t@host/db")
    assert "cr@t" not in str(error.value)


def test_no_package_takes_the_place_of_a_driver_of_ours():
    assert type(driver_for("memory://")) is MemoryDriver


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("none://x", "gave None, which is no stepflow.drivers.port.store.Driver"),
        ("gone://x", "'kept_driver:Missing' cannot be loaded: .*install it anew"),
        ("lost://x", "No module named 'no_such_module'"),
        ("kepd://x", "no driver for kepd://; stores are: memory://"),
    ],
)
def test_a_broken_package_is_reported(url, what):
    with pytest.raises(StoreError, match=what):
        driver_for(url)
