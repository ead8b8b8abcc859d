"""Store URLs: what each means, and what is wrong with the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.registry import driver_for
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.errors import StoreError


def test_memory_stores_are_separate() -> None:
    one, two = driver_for("memory://"), driver_for("memory://")
    assert isinstance(one, MemoryDriver)
    assert one is not two


def test_a_driver_passes_through() -> None:
    driver = MemoryDriver()
    assert driver_for(driver) is driver


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///orders.db", Path.cwd() / "orders.db"),
        ("sqlite:///data/my%20orders.db", Path.cwd() / "data" / "my orders.db"),
        ("sqlite:////var/lib/orders.db", Path("/var/lib/orders.db")),
    ],
)
def test_sqlite_paths(url: str, path: Path) -> None:
    driver = driver_for(url)
    assert isinstance(driver, SqliteDriver)
    assert driver.path == path
    assert not driver.read_only
    again = driver_for(driver.url)
    assert isinstance(again, SqliteDriver)
    assert again.path == path


def test_sqlite_read_only() -> None:
    driver = driver_for("sqlite:///orders.db?mode=ro")
    assert isinstance(driver, SqliteDriver)
    assert driver.read_only


@pytest.mark.parametrize(
    ("store", "says"),
    [
        ("orders.db", "sqlite:///orders.db"),
        ("", "no store URL"),
        ("mongodb://host/db", r"no driver for mongodb://.*memory://, .*sqlite:///"),
        ("sqlite://orders.db", "names no file"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///a.db?cache=shared", "cache=shared.*mode=ro"),
        ("memory://shared", "takes no path"),
        (17, "neither a URL nor a Driver"),
    ],
)
def test_the_message_names_the_problem(store: str, says: str) -> None:
    with pytest.raises(StoreError, match=says):
        driver_for(store)
