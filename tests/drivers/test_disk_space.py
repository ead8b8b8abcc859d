"""The conditions of a store of files name the room that is left on its disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from stepflow import Engine
from stepflow.drivers.registry import driver_for


@pytest.mark.parametrize("form", ["sqlite:///{}/store.db", "rocksdb:///{}/store"])
def test_little_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    if form.startswith("rocksdb"):
        pytest.importorskip("rocksdict")
    url, usage, asked = form.format(tmp_path), shutil.disk_usage(tmp_path), list[Path]()
    with Engine(url):  # which creates it
        pass
    for free, expected in (
        (5 << 30, (True, "more than 256 MB free")),
        ((256 << 20) - 1, (False, "255 MB free")),
    ):

        def disk_usage(path: Path, free: int = free) -> Any:
            asked.append(path)
            return usage._replace(free=free)

        monkeypatch.setattr(shutil, "disk_usage", disk_usage)
        (found,) = [one for one in driver_for(url).maintenance("").conditions(lambda: 0) if one.what == "disk space"]
        assert (found.ok, found.found.partition(", less")[0]) == expected
    assert all(tmp_path in (path, path.parent) for path in asked)
