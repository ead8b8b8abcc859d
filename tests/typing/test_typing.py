"""mypy and pyright, both strict, accept the right programs and refuse each marked line of the wrong ones."""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


# Django has no types without django-stubs, a plugin that starts a project's settings: its objects are Any, our code is checked.
UNTYPED = "[mypy-django.*]\nignore_missing_imports = True\n"

Place = tuple[str, int]
"""A file, without its suffix, and a line."""


def mypy(folder: Path, *files: Path) -> set[Place]:
    """Lines with errors of mypy; an unused ignore is an error too.

    All calls of a test process share a cache, or each would check stepflow itself again.
    """
    config = folder / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\nexplicit_package_bases = True\n" + UNTYPED)
    command = [sys.executable, "-m", "mypy", "--config-file", str(config)]
    done = subprocess.run(
        [*command, "--cache-dir", str(cache_folder()), *map(str, files)],
        env={**os.environ, "MYPYPATH": f"{ROOT}{os.pathsep}{folder}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {(name, int(line)) for name, line in re.findall(r"(\w+)\.py:(\d+): error:", done.stdout)}


def pyright(folder: Path, *files: Path) -> set[Place]:
    """Lines with errors of pyright, which must not use mypy's ignores."""
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
    found = report["generalDiagnostics"]
    return {(Path(one["file"]).stem, one["range"]["start"]["line"] + 1) for one in found}


@cache
def cache_folder() -> Path:
    """Where mypy keeps what it knows of stepflow."""
    folder = TemporaryDirectory(prefix="stepflow-mypy-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


CHECKERS = [(mypy, r"\s+# type: ignore\[.*?\]"), (pyright, r"\s+# pyright: ignore\[.*?\]")]


@pytest.mark.parametrize(("checker", "mark"), CHECKERS, ids=["mypy", "pyright"])
def test_right_programs_pass_and_wrong_ones_are_refused_as_marked(
    checker: Callable[..., set[Place]], mark: str, tmp_path: Path
) -> None:
    files = sorted([*HERE.glob("right*.py"), *HERE.glob("wrong*.py")])
    assert len(files) == 6
    assert checker(tmp_path, *files) == set()


@pytest.mark.parametrize(("checker", "mark"), CHECKERS, ids=["mypy", "pyright"])
def test_without_the_marks_exactly_the_marked_lines_are_refused(
    checker: Callable[..., set[Place]], mark: str, tmp_path: Path
) -> None:
    marked: set[Place] = set()
    bare: list[Path] = []
    (tmp_path / "bare").mkdir()
    for file in HERE.glob("wrong*.py"):
        lines = file.read_text().splitlines()
        bare.append(tmp_path / "bare" / file.name)
        bare[-1].write_text("\n".join(re.sub(mark, "", line) for line in lines))
        marked |= {(file.stem, number) for number, line in enumerate(lines, 1) if re.search(mark, line)}
    assert len(marked) > 70
    assert checker(tmp_path, *bare) == marked
