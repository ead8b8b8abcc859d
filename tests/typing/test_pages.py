"""mypy, strict, accepts the code of the pages that people copy first: the README, the quickstart and the guides named here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.pages import ROOT, blocks_of
from tests.typing.test_typing import mypy

TYPED = (
    "README.md",
    "docs/index.md",
    "docs/quickstart.md",
    "docs/howto/data.md",
    "docs/howto/deploys.md",
    "docs/howto/external-loop.md",
    "docs/howto/flow-control.md",
    "docs/howto/idempotent-steps.md",
    "docs/howto/notebooks.md",
    "docs/howto/postgresql.md",
    "docs/howto/rocksdb.md",
    "docs/howto/sqlite.md",
    "docs/reference/stores.md",
)


def code_of(page: str) -> str:
    """The Python blocks of a page as one program, with the page's line numbers."""
    lines: list[str] = []
    for block in (b for b in blocks_of(page) if b.language == "python" and not b.file):
        lines += [""] * (block.line - len(lines))
        lines += block.text.splitlines()
    return "\n".join(lines) + "\n"


@pytest.mark.timeout(300)
def test_the_code_of_pages_type_checks(tmp_path: Path) -> None:
    files = []
    for name in TYPED:
        path = tmp_path / f"page_{name.removesuffix('.md').replace('/', '_').replace('-', '_')}.py"
        path.write_text(code_of((ROOT / name).read_text()))
        files.append(path)
    assert mypy(tmp_path, *files) == set()
