"""A copy of each stored store, as the processes that wrote it left it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compatibility.stores import KINDS, SOURCE, Stored, load, recorded, unpack


@pytest.fixture(params=KINDS)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Stored:
    kind = request.param
    if kind == "postgres":
        server = request.getfixturevalue("postgres")
        return Stored(kind, load(SOURCE, server, server.schema()), recorded(SOURCE))
    return Stored(kind, unpack(kind, SOURCE, tmp_path), recorded(SOURCE))
