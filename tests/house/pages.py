"""Markdown pages as programs: finds the Python blocks of a page and runs them in order, as one process."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.M | re.S)
MARK = "\x1e"


@frozen
class Block:
    """One fenced block: its language, its text, and the line of its opening fence."""

    language: str
    text: str
    line: int


def blocks_of(page: str) -> list[Block]:
    """All fenced blocks of a page in order."""
    found = []
    for match in FENCE.finditer(page):
        words = match["info"].split()
        found.append(Block(words[0] if words else "", dedent(match["body"]), page.count("\n", 0, match.start()) + 1))
    return found


def program_of(blocks: list[Block]) -> str:
    """The Python blocks as one script with the page's line numbers; a mark is printed before each block."""
    lines: list[str] = []
    for block in (b for b in blocks if b.language == "python"):
        lines += [""] * (block.line - 1 - len(lines))
        lines += [f"print('{MARK}{block.line}', flush=True)", *block.text.splitlines()]
    return "\n".join(lines) + "\n"


def expected_of(blocks: list[Block]) -> dict[int, str]:
    """Line of a Python block -> the text block right after it."""
    pairs = itertools.pairwise(blocks)
    return {a.line: b.text for a, b in pairs if a.language == "python" and b.language == "text"}


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


def run_script(path: Path, cwd: Path, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a script with this checkout importable; warnings are errors there, too."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "PYTHONUTF8": "1"}
    command = [sys.executable, str(path)]
    return subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, timeout=timeout_s, check=False)


def problems_of(page: str, folder: Path) -> list[str]:
    """Run the page in `folder`; what went wrong, in words."""
    blocks = blocks_of(page)
    script = folder / "page.py"
    script.write_text(program_of(blocks))
    done = run_script(script, folder)
    if done.returncode != 0:
        return [done.stderr]
    actual = outputs_of(done.stdout)
    return [
        f"line {line}: expected\n{text}\nbut it printed\n{actual[line]}"
        for line, text in expected_of(blocks).items()
        if not matches(text, actual[line])
    ]
