"""Markdown pages as programs: a page's Python blocks run in order, as one process; those with a title are files beside it."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from textwrap import dedent

from attrs import frozen

from tests.processes.zygote import zygote

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.M | re.S)
TITLE = re.compile(r'title="([\w.]+)"')
MARK = "\x1e"
NOTHING: Mapping[str, str] = {}


@frozen
class Block:
    """One fenced block: its language, its text, the line of its opening fence, and the file that it is, if it has a title."""

    language: str
    text: str
    line: int
    file: str = ""


def blocks_of(page: str) -> list[Block]:
    """All fenced blocks of a page in order."""
    found = []
    for match in FENCE.finditer(page):
        language, _, options = match["info"].strip().partition(" ")
        title = TITLE.search(options)
        line = page.count("\n", 0, match.start()) + 1
        found.append(Block(language, dedent(match["body"]), line, title[1] if title else ""))
    return found


def program_of(blocks: list[Block]) -> str:
    """The Python blocks, but for files, as one script with the page's line numbers; a mark is printed before each."""
    lines: list[str] = []
    for block in (b for b in blocks if b.language == "python" and not b.file):
        lines += [""] * (block.line - 1 - len(lines))
        lines += [f"print('{MARK}{block.line}', flush=True)", *block.text.splitlines()]
    return "\n".join(lines) + "\n"


def expected_of(blocks: list[Block]) -> dict[int, str]:
    """Line of a Python block -> the text block right after it."""
    pairs = itertools.pairwise(blocks)
    return {a.line: b.text for a, b in pairs if a.language == "python" and not a.file and b.language == "text"}


def outputs_of(stdout: str) -> dict[int, str]:
    """Line of a Python block -> what it printed."""
    parts = stdout.split(MARK)[1:]
    return {int(p.partition("\n")[0]): p.partition("\n")[2] for p in parts}


def matches(expected: str, actual: str) -> bool:
    """Equal up to spaces at line ends; `...` in the expected text stands for anything."""

    def tidy(text: str) -> str:
        return "\n".join(line.rstrip() for line in text.strip().splitlines())

    pattern = ".*?".join(map(re.escape, tidy(expected).split("...")))
    return re.fullmatch(pattern, tidy(actual), re.S) is not None


def run_script(
    path: Path, cwd: Path, *args: str, more: Mapping[str, str] = NOTHING, timeout_s: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run a script with this checkout importable, and `more` in its environment; warnings are errors there, too."""
    command = [str(path), *args]
    with TemporaryDirectory() as temporary, TemporaryFile() as output, TemporaryFile() as errors:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "PYTHONUTF8": "1", "TMPDIR": temporary}
        process = zygote().fork(command, cwd, {**env, **more}, output=output.fileno(), errors=errors.fileno())
        try:
            code = process.wait(timeout_s)
        finally:
            process.kill()
        written = (os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in (output, errors))
        return subprocess.CompletedProcess(command, code, *written)


def problems_of(page: str, folder: Path, more: Mapping[str, str] = NOTHING, *, thorough: bool = False) -> list[str]:
    """Run the page in `folder`, with `more` in the environment; what went wrong, in words.

    Of its `$ pytest …` lines only the first is run, all of them if `thorough`.
    """
    blocks = blocks_of(page)
    for block in blocks:
        if block.file:
            (folder / block.file).write_text(block.text)
    if (folder / "pyproject.toml").exists():
        install(folder)
    script = folder / "page.py"
    script.write_text(program_of(blocks))
    done = run_script(script, folder, more=more)
    if done.returncode != 0:
        return [done.stderr]
    actual = outputs_of(done.stdout)
    return [
        f"line {line}: expected\n{text}\nbut it printed\n{actual[line]}"
        for line, text in expected_of(blocks).items()
        if not matches(text, actual[line])
    ] + [problem for words in suites_of(blocks)[: None if thorough else 1] for problem in failures_of(words, folder)]


def install(folder: Path) -> None:
    """Let the project in `folder` look installed to programs that run there: name, version and entry points."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project.get("entry-points", {}).items()
    lines = [line for group, names in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in names.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def suites_of(blocks: list[Block]) -> list[list[str]]:
    """Words of every `$ pytest …` line of a page."""
    lines = [line for block in blocks if block.language == "console" for line in block.text.splitlines()]
    return [shlex.split(line)[2:] for line in lines if line.startswith("$ pytest ")]


def failures_of(words: list[str], folder: Path, timeout_s: float = 300) -> list[str]:
    """Run `pytest` with these words in `folder`; what it said if a test failed or there was none."""
    with TemporaryDirectory() as folder_of_tests:
        env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "TMPDIR": folder_of_tests}
        quiet = [
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:schemathesis",
            "-p",
            "no:langsmith_plugin",
            "-p",
            "tests.conftest",
            "--basetemp",
            f"{folder_of_tests}/tests",
        ]
        command = [sys.executable, "-m", "pytest", *quiet, *words]
        done = subprocess.run(
            command, cwd=folder, env=env, text=True, capture_output=True, timeout=timeout_s, check=False
        )
    return [] if done.returncode == 0 else [done.stdout + done.stderr]
