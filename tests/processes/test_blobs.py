"""Large blobs through the engine, on the stores of one machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes.blobs import keep_large_blob


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/runs.db", "rocksdb:///{}/store"])
def test_a_blob_of_some_megabytes(url: str, tmp_path: Path) -> None:
    keep_large_blob(url.format(tmp_path), 5)


@pytest.mark.soak
@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/runs.db", "rocksdb:///{}/store"])
def test_a_blob_of_100_megabytes(url: str, tmp_path: Path) -> None:
    keep_large_blob(url.format(tmp_path))
