"""mypy and pyright, both strict, accept the examples and right programs, and refuse each marked line of the wrong ones."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


# Django has no types without django-stubs, a plugin that starts a project's settings: its objects are Any, our code is checked.
UNTYPED = "[mypy-django.*]\nignore_missing_imports = True\n"

OF_LINT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
"""With other options than those of `make lint`, what that leaves in its cache could not be used."""

Place = tuple[str, int]
"""A file, without its suffix, and a line."""

MYPY_MARK, PYRIGHT_MARK = r"\s+# type: ignore\[.*?\]", r"\s+# pyright: ignore\[.*?\]"


def examples(_mark: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((ROOT / "examples").rglob("*.py"))}


def marked(_mark: str) -> dict[str, str]:
    """The right programs, and the wrong ones with a mark at each line that a checker refuses."""
    return {path.name: path.read_text() for path in sorted([*HERE.glob("right*.py"), *HERE.glob("wrong*.py")])}


def bare(mark: str) -> dict[str, str]:
    """The wrong programs without the marks."""
    wrong = {name: text for name, text in marked(mark).items() if name.startswith("wrong")}
    return {name: "\n".join(re.sub(mark, "", line) for line in text.splitlines()) for name, text in wrong.items()}


GROUPS = {"examples": examples, "marked": marked, "bare": bare}


def written(programs: dict[str, str], folder: Path) -> list[Path]:
    """The files of these programs in this folder."""
    folder.mkdir(exist_ok=True)
    for name, text in programs.items():
        (folder / name).write_text(text)
    return [folder / name for name in programs]


def mypy(group: str) -> set[Place]:
    """Lines with errors of mypy in the programs of a group."""
    with TemporaryDirectory() as folder:
        return mypy_on(Path(folder), *written(GROUPS[group](MYPY_MARK), Path(folder)))


def mypy_on(folder: Path, *files: Path) -> set[Place]:
    """Lines with errors of mypy; an unused ignore is an error too.

    All calls of a test process share a cache, or each would check stepflow itself again.
    """
    config, options = folder / "mypy.ini", ("strict", "explicit_package_bases", "python_version", "enable_error_code")
    texts = [f"{name} = {str(OF_LINT[name]).strip('[]')}" for name in options]
    config.write_text("\n".join(["[mypy]", *texts, UNTYPED]).replace("'", ""))
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


def pyright(group: str) -> set[Place]:
    """Lines with errors of pyright, which must not use mypy's ignores."""
    return pyright_found()[group]


@cache
def pyright_found() -> dict[str, set[Place]]:
    """What pyright finds in each group, by one run: most of its time it reads what the programs import."""
    texts = {group: programs(PYRIGHT_MARK) for group, programs in GROUPS.items()}
    # Django has no types: mypy takes its objects as Any, pyright refuses them
    texts["examples"] = {name: text for name, text in texts["examples"].items() if "import django" not in text}
    with TemporaryDirectory(prefix="stepflow-pyright-") as name:
        folder = Path(name)
        for group, programs in texts.items():
            written(programs, folder / group)
        config = {
            "include": list(texts),
            "typeCheckingMode": "strict",
            "enableTypeIgnoreComments": False,
            "reportUnnecessaryTypeIgnoreComment": "error",
            "extraPaths": [str(ROOT)],
        }
        (folder / "pyrightconfig.json").write_text(json.dumps(config))
        done = subprocess.run(
            [sys.executable, "-m", "pyright", "--outputjson", "-p", name, "--pythonpath", sys.executable],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == sum(map(len, texts.values()))
    found: dict[str, set[Place]] = {group: set() for group in texts}
    for one in report["generalDiagnostics"]:
        path = Path(one["file"])
        found[path.parent.name].add((path.stem, one["range"]["start"]["line"] + 1))
    return found


@cache
def cache_folder() -> Path:
    """Where mypy keeps what it knows of stepflow: at first what test_package.py found, or `make lint`."""
    folder = TemporaryDirectory(prefix="stepflow-mypy-")
    atexit.register(folder.cleanup)
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", folder.name, dirs_exist_ok=True)
    return Path(folder.name)


CHECKERS = pytest.mark.parametrize(
    ("checker", "mark"), [(mypy, MYPY_MARK), (pyright, PYRIGHT_MARK)], ids=["mypy", "pyright"]
)


@CHECKERS
def test_right_programs_pass_and_wrong_ones_are_refused_as_marked(
    checker: Callable[[str], set[Place]], mark: str
) -> None:
    assert len(marked(mark)) == 6
    assert checker("marked") == set()


@CHECKERS
def test_without_the_marks_exactly_the_marked_lines_are_refused(
    checker: Callable[[str], set[Place]], mark: str
) -> None:
    found = {
        (name.removesuffix(".py"), number)
        for name, text in marked(mark).items()
        for number, line in enumerate(text.splitlines(), 1)
        if name.startswith("wrong") and re.search(mark, line)
    }
    assert len(found) > 70
    assert checker("bare") == found


@CHECKERS
def test_the_examples_type_check(checker: Callable[[str], set[Place]], mark: str) -> None:
    assert checker("examples") == set()
