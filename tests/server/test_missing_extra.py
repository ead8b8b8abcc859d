"""Verbs without the packages of their extra, in interpreters that find none of these."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.server.processes import LIMIT_S

MISSING = {"uvicorn": "from stepflow.cli import main; main()"} | dict.fromkeys(
    ("starlette", "google"), "import stepflow.server"
)


@pytest.mark.parametrize("missing", MISSING)
def test_without_the_extra_it_names_the_install_line(tmp_path, missing):
    for program in {"from stepflow.cli import main; main()", MISSING[missing]}:
        script = f"import sys; sys.modules[{missing!r}] = None; {program}"
        command = [sys.executable, "-c", script, "serve", "--store", "memory://", "--port", "0"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        last = done.stderr.splitlines()[-1]
        assert (done.returncode, last.count('pip install "stepflow[server]"')) == (1, 1), done.stderr
        assert ("serve needs more packages (" in last) == (program != "import stepflow.server"), done.stderr


@pytest.mark.parametrize(("verb", "extra"), [("host", "server"), ("token", "server"), ("worker", "remote")])
def test_each_verb_without_its_extra_names_the_install_line_once(tmp_path, verb, extra):
    """`stepflow.server` names it as well, where a program imports it."""
    (tmp_path / "calls.py").write_text(
        "from stepflow import flow\n\n\n@flow('f')\ndef f(value: int) -> int:\n    return value\n"
    )
    (tmp_path / "secret").write_text("s" * 64)
    missing = "starlette" if extra == "server" else "httpx2"
    store, secret = ["--store", "sqlite:///a.db"], ["--secret-file", "secret"]
    options = {
        "host": ["calls", "--url", "http://127.0.0.1:9", *store, *secret],
        "token": ["billing"],
        "worker": ["--remote", "loopback", *store, *secret],
    }
    program = f"import sys; sys.modules[{missing!r}] = None; from stepflow.cli import main; main()"
    command = [sys.executable, "-c", program, verb, *options[verb]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    said = done.stderr
    assert (done.returncode, said.count("pip install"), said.count("\n")) == (1, 1, 1), said
    assert f'"stepflow[{extra}]"' in said
