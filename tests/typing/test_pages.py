"""mypy, strict, accepts the code that people copy from the README and from all pages."""

from __future__ import annotations

from pathlib import Path

from tests.house.pages import ROOT, blocks_of
from tests.typing.test_typing import mypy_on


def pages() -> list[str]:
    """The pages, as paths from the root."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path.relative_to(ROOT).as_posix() for path in found]


def code_of(page: str) -> str:
    """The Python blocks of a page as one program, with the page's line numbers."""
    lines: list[str] = []
    for block in (b for b in blocks_of(page) if b.language == "python" and not b.file):
        lines += [""] * (block.line - len(lines))
        lines += block.text.splitlines()
    return "\n".join(lines) + "\n"


def test_the_code_of_pages_type_checks(tmp_path: Path) -> None:
    files, modules = [], dict[str, str]()
    for name in pages():
        text = (ROOT / name).read_text()
        blocks = [block for block in blocks_of(text) if block.language == "python"]
        if blocks:
            path = tmp_path / f"page_{name.removesuffix('.md').replace('/', '_').replace('-', '_')}.py"
            path.write_text(code_of(text))
            files.append(path)
            modules |= {block.file: block.text for block in blocks if block.file}
    for name, text in modules.items():
        (tmp_path / name).write_text(text)
        files.append(tmp_path / name)
    assert len(files) > 25
    assert mypy_on(tmp_path, *files) == set()
