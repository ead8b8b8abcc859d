"""mypy, strict, accepts stepflow itself: the first test of all, as it takes longest, and the others here use what it finds out."""

from __future__ import annotations

import subprocess
import sys

from tests.house.pages import ROOT


def test_it_type_checks() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
