"""mypy and pyright, both strict, accept the right programs and refuse each marked line of the wrong ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def mypy(folder: Path, *files: Path) -> set[int]:
    """Lines that mypy complains about; an ignore that is not needed is a complaint too."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--explicit-package-bases"]
    done = subprocess.run(
        [*command, "--cache-dir", str(folder / "cache"), *map(str, files)],
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {int(line) for line in re.findall(r":(\d+): error:", done.stdout)}


def pyright(folder: Path, *files: Path) -> set[int]:
    """The same for pyright, which must not look at mypy's ignores."""
    for file in files:
        (folder / file.name).write_text(file.read_text())  # pyright takes no paths outside of its folder
    config = {
        "include": [file.name for file in files],
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": False,
        "reportUnnecessaryTypeIgnoreComment": "error",
        "extraPaths": [str(ROOT)],
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "-p", str(folder), "--pythonpath", sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(files)
    return {found["range"]["start"]["line"] + 1 for found in report["generalDiagnostics"]}


CHECKERS = [(mypy, r"\s+# type: ignore\[.*?\]"), (pyright, r"\s+# pyright: ignore\[.*?\]")]


@pytest.mark.parametrize(("checker", "mark"), CHECKERS, ids=["mypy", "pyright"])
def test_right_programs_pass_and_wrong_ones_are_refused_as_marked(
    checker: Callable[..., set[int]], mark: str, tmp_path: Path
) -> None:
    assert checker(tmp_path, HERE / "right.py", HERE / "wrong.py") == set()


@pytest.mark.parametrize(("checker", "mark"), CHECKERS, ids=["mypy", "pyright"])
def test_without_the_marks_exactly_the_marked_lines_are_refused(
    checker: Callable[..., set[int]], mark: str, tmp_path: Path
) -> None:
    lines = (HERE / "wrong.py").read_text().splitlines()
    bare = tmp_path / "bare.py"
    bare.write_text("\n".join(re.sub(mark, "", line) for line in lines))
    marked = {number for number, line in enumerate(lines, 1) if re.search(mark, line)}
    assert len(marked) > 35
    assert checker(tmp_path, bare) == marked
