"""What the commands print for people: whole sentences in lists of verbs, the zone of times, a word where nothing is open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from stepflow.cli.app import run as run_command
from stepflow.cli.output import cell


def test_the_help_shows_the_whole_first_sentence_of_each_verb(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for args in (["--help"], ["schedule", "--help"]):
        assert run_command(args) == 0
        text = capsys.readouterr().out
        assert "..." not in text.replace("[ARGS]...", "")
        assert max(map(len, text.splitlines())) <= 80


def test_times_name_their_zone() -> None:
    moment = datetime(2026, 3, 28, 12, 30, 5, 999, UTC)
    assert cell(moment) == "2026-03-28 12:30:05Z"
    assert cell(moment.astimezone(timezone(timedelta(hours=2)))) == "2026-03-28 12:30:05Z"


def test_check_says_that_no_run_is_open(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'runs.db'}"
    assert run_command(["check", "tests.processes.flows", "--store", store]) in (0, 1)
    run_command(["migrate", "--store", store])
    capsys.readouterr()
    assert run_command(["check", "tests.processes.flows", "--store", store]) == 0
    assert "flow(s) of these modules is open" in capsys.readouterr().out
