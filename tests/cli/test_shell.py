"""What a shell sees of the command: completion, exit codes, suggestions, and progress in a terminal alone."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stepflow.cli.app import VERBS

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
LIMIT_S = 60
LINES = dict(re.findall(r"^\| (bash|zsh|fish)[^|]*\| `(.*?)` \| `~", GUIDE.read_text().replace("\\|", "¦"), re.M))


@pytest.fixture
def folder(tmp_path):
    """A folder with the command on the path."""
    command = tmp_path / "bin" / "stepflow"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m stepflow "$@"\n')
    command.chmod(0o755)
    return tmp_path


def environment(folder):
    return os.environ | {"PATH": f"{folder}/bin:{os.environ['PATH']}"}


def completed(folder, *words):
    """What bash completes the last word to, with the line of the guide in its start file."""
    script = f"""
        {LINES["bash"]}
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words) - 1}
        $(complete -p stepflow | sed 's/.*-F \\([^ ]*\\) .*/\\1/') stepflow
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    command = ["bash", "--norc", "-c", script]
    done = subprocess.run(command, env=environment(folder), capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_verbs_options_and_values(folder):
    assert completed(folder, "stepflow", "re") == ["redrive", "resolve", "resume", "retry", "rewind"]
    assert completed(folder, "stepflow", "list", "--stat") == ["--status"]
    assert completed(folder, "stepflow", "cancel", "--status", "pa") == ["parked", "paused"]
    assert completed(folder, "stepflow", "schedule", "tr") == ["trigger"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_guide_has_the_line_of_each_shell(folder, shell):
    line = LINES[shell]
    assert f"_STEPFLOW_COMPLETE={shell}_source stepflow" in line
    done = subprocess.run(
        ["stepflow"],
        env=environment(folder) | {"_STEPFLOW_COMPLETE": f"{shell}_source"},
        capture_output=True, text=True, timeout=LIMIT_S, check=True,
    )  # fmt: skip
    assert f"_STEPFLOW_COMPLETE={shell}_complete" in done.stdout
    if found := shutil.which(shell):
        subprocess.run([found, "-n"], input=done.stdout, text=True, timeout=LIMIT_S, check=True)


@pytest.mark.parametrize("verb", VERBS)
def test_exit_codes_that_all_verbs_have(stepflow, verb):
    out = stepflow(verb, "--help")
    assert (stepflow.code, out.startswith(f"Usage: stepflow {verb}")) == (0, True)
    stepflow(verb, "--no-such-option")
    assert (stepflow.code, "No such option" in stepflow.err) == (2, True)


REFUSED = {
    "audit": [],
    "cancel": ["x"], "check": ["shop"], "explain": ["x"], "fork": ["x", "--rev", "1"], "list": [], "move": ["shop", "x", "--to", "start:order.v1"],
    "pause": ["x"], "prune": [], "publish": ["x", "e"], "publish-topic": ["t"], "redrive": ["x"], "resolve": ["x", "s"], "resume": ["x"],
    "retry": ["x"], "rewind": ["x", "--rev", "1"], "schedule": ["list"], "show": ["x"], "tail": ["x"], "wake": ["x"],
    "run": ["shop", '{"number": -1}'], "start": ["shop", "{}"], "diagram": ["shop", "--run", "x"], "worker": ["shop", "--store", "mysql://x"],
    "migrate": ["--store", "mysql://x"], "bench": ["--store", "mysql://x"], "serve": ["--store", "mysql://x"],
}  # fmt: skip


def test_each_verb_is_looked_at():
    assert set(REFUSED) == set(VERBS) - {"doctor", "host", "token"}


@pytest.mark.parametrize("verb", sorted(REFUSED))
def test_what_is_refused_is_1_and_told_in_one_line(stepflow, verb):
    """Without a store, or without such a run. `doctor` tells it as a finding (3), `token` and `host` have no store to look into."""
    stepflow(verb, *REFUSED[verb])
    assert stepflow.code == 1
    assert stepflow.err.splitlines()[-1].lower().startswith("error: "), stepflow.err


def test_a_check_that_finds_something_is_3(stepflow):
    stepflow("doctor", "--store", "sqlite:///none.db")
    assert stepflow.code == 3


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["list", "--status", "faild"], "Did you mean 'failed'?"),
        (["cancel", "--status", "waitng"], "Did you mean 'waiting'?"),
        (["list", "--order", "updatd"], "Did you mean 'updated'?"),
        (["list", "--stauts", "failed"], "Did you mean '--status'?"),
        (["diagram", "shop", "--format", "mermaid2"], "Did you mean 'mermaid'?"),
    ],
)
def test_what_is_misspelt_is_told_the_right_one(stepflow, args, told):
    stepflow(*args)
    assert (stepflow.code, told in stepflow.err) == (2, True), stepflow.err


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_flow_of_which_there_is_no_run_is_told_a_similar_one(waiting, form):
    for args in (
        ["list", "--flow", "ordr.v1"],
        ["cancel", "--flow", "ordr.v1"],
        ["pause", "--all", "--flow", "ordr.v1"],
    ):
        waiting(*args, *form)
        assert (waiting.code, waiting.err) == (0, "no run is of flow 'ordr.v1': did you mean 'order.v1'?\n")
    waiting("list", "--flow", "order.v1", "--status", "paused")
    assert waiting.err == ""


def test_progress_is_shown_in_a_terminal_alone(folder, stepflow):
    stepflow("start", "shop", '{"number": -1}', "--id", "failed")
    stepflow("worker", "shop", "--until-idle")
    for args, shown in ((["redrive", "--all"], "1 runs"), (["prune", "--older-than", "0s"], "1 runs deleted")):
        command = [sys.executable, "-m", "stepflow", *args]
        piped = subprocess.run([*command, "--store", "sqlite:///none.db"], cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)  # fmt: skip
        assert "runs" not in piped.stderr
        ours, theirs = pty.openpty()
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=theirs, timeout=LIMIT_S, check=True)
        os.close(theirs)
        assert shown in os.read(ours, 65536).decode()
        os.close(ours)
        assert b"\x1b" not in done.stdout
