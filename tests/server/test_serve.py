"""`stepflow serve` and `stepflow token` as real processes, over a real socket."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from importlib import import_module
from typing import Any

import httpx2
import pytest

from stepflow import Engine
from stepflow.cli.app import run
from stepflow.cli.serve import _open_once
from stepflow.drivers.registry import driver_for
from stepflow.errors import StepflowError
from stepflow.server.tokens import read_tokens
from tests.server.processes import LIMIT_S, STEPFLOW, serving

pytestmark = pytest.mark.usefixtures("forking")

COMMIT = {"stateCtxs": [{"current": {"id": "a"}}], "commit": {"commands": [{"park": {"stateRef": {"idx": "0"}}}]}}
BY_ID = {"stateCtxs": [{}], "getStateByID": {"id": "a", "stateRef": {"idx": "0"}}}


def test_what_was_committed_outlives_a_killed_server(tmp_path):
    with serving(tmp_path) as (process, url):
        answer = httpx2.post(f"{url}/flowstate.v1.Driver/Commit", json=COMMIT, timeout=LIMIT_S)
        assert answer.status_code == 200
        process.send_signal(signal.SIGKILL)
        process.wait(LIMIT_S)
    with serving(tmp_path) as (process, url):
        found = httpx2.post(f"{url}/flowstate.v1.Driver/GetStateByID", json=BY_ID, timeout=LIMIT_S).json()
        assert found["stateCtxs"] == answer.json()["stateCtxs"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0  # after a shutdown that let all requests end
    assert (tmp_path / "stepflow.db").exists()


def refused(tmp_path, *args):
    command = [*STEPFLOW, *args]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 1, done.stderr
    return done.stderr


def test_an_address_that_cannot_be_listened_on_is_named(tmp_path):
    (tmp_path / "calls.py").write_text(
        "from stepflow import flow\n\n\n@flow('f')\ndef f(value: int) -> int:\n    return value\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = str(used.getsockname()[1])
        said = refused(tmp_path, "serve", "--port", port)
        assert f"error: port {port} of 127.0.0.1 is used by another program: choose another one with --port" in said
        assert "Errno" not in said
        assert not (tmp_path / "stepflow.db").exists()
    (tmp_path / "secret").write_text("s" * 64)
    (tmp_path / "tokens.toml").write_text(f'[a]\nsha256 = "{"0" * 64}"\nscope = "read"\n')
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = str(used.getsockname()[1])
        said = refused(
            tmp_path,
            "host",
            "calls",
            "--url",
            f"http://127.0.0.1:{port}",
            "--store",
            "sqlite:///a.db",
            "--secret-file",
            "secret",
        )
    assert f"error: port {port} of 127.0.0.1 is used by another program: choose another one with --listen" in said
    said = refused(tmp_path, "serve", "--host", "192.0.2.1", "--tokens", "tokens.toml")
    assert "error: 192.0.2.1 is no address of this machine: choose another one with --host" in said


@pytest.mark.parametrize("kind", ["sqlite", "rocksdb"])
def test_the_store_is_opened_at_the_start(tmp_path, kind):
    if kind == "rocksdb":
        pytest.importorskip("rocksdict")
    url = f"{kind}:///missing/shop.db"
    said = refused(tmp_path, "serve", "--port", "0", "--store", url)
    assert f"there is no directory {tmp_path}/missing; create it" in said
    assert not (tmp_path / "missing").exists()


def test_a_store_that_was_made_is_logged_once(tmp_path):
    said = []
    for _start in range(2):
        command = [*STEPFLOW, "serve", "--port", "0", "--store", "sqlite:///shop.db"]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "running on" in line:
                process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
        process.stderr.close()
        said.append("".join(lines).count(f"there was no store at {tmp_path}/shop.db: a new one was made, sqlite:///"))
    assert said == [1, 0]


def test_a_database_that_does_not_answer_yet_is_waited_for(caplog):
    _open_once(driver_for("http://secret@127.0.0.1:1"))
    assert "the store cannot be used yet" in caplog.text
    assert "secret" not in caplog.text


def test_the_client_closes_an_idle_connection_and_not_the_server(tmp_path, monkeypatch):
    kept = {}

    def config(_app, **settings):
        kept.update(settings)
        raise StepflowError("seen")

    monkeypatch.setattr("uvicorn.Config", config)
    assert run(["serve", "--store", f"sqlite:///{tmp_path}/s.db"]) == 1
    assert kept["timeout_keep_alive"] > 90  # seconds, after which the Go client closes it


@pytest.mark.parametrize("name", ["ops", "José 😀", 'say "hi" \\ ]', "a.b"])
def test_the_lines_of_a_token_are_what_a_server_reads(tmp_path, capsys, name):
    assert run(["token", name, "--only", "shop", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    (tmp_path / "tokens.toml").write_text(made["entry"], "utf-8")
    token = read_tokens(tmp_path / "tokens.toml").find(made["secret"])
    assert (token.name, token.scope, token.namespaces) == (name, "operate", {"shop"})


def test_a_server_with_tokens(tmp_path, capsys):
    assert run(["token", "ops", "--scope", "admin", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    (tmp_path / "secret").write_text("s" * 64)
    (tmp_path / "tokens.toml").write_text(made["entry"])
    with serving(tmp_path, "--host", "0.0.0.0", "--tokens", "tokens.toml", "--store", "memory://") as (_process, url):
        url = url.replace("0.0.0.0", "127.0.0.1")
        assert httpx2.post(f"{url}/flowstate.v1.Driver/Commit", json=COMMIT, timeout=LIMIT_S).status_code == 401
        headers = {"authorization": f"Bearer {made['secret']}"}
        assert (
            httpx2.post(f"{url}/flowstate.v1.Driver/Commit", json=COMMIT, headers=headers, timeout=LIMIT_S).status_code
            == 200
        )
        for verb, code in (("migrate", 0), ("doctor", 0)):
            assert run([verb, "--store", url.replace("://", f"://{made['secret']}@")]) == code
            printed = "".join(capsys.readouterr())
            assert (made["secret"] in printed, url.replace("://", "://***@") in printed) == (False, True)
        assert run(["list", "--store", url.replace("://", "://wrong@")]) == 1
        refused = capsys.readouterr().err
        assert (
            "answered 401: the header Authorization has no token of this server" in refused,
            "version" in refused,
        ) == (True, False)


FLOWS = """
from stepflow import named

double = named("double.v1", dict[str, int]).do("double", lambda counts: counts.update(n=2 * counts["n"])).compile()
"""


def test_an_operator_starts_runs_of_flows_that_the_server_knows(tmp_path):
    (tmp_path / "shop_flows.py").write_text(FLOWS)
    with serving(tmp_path, "--flows", "shop_flows", "--store", "sqlite:///shop.db") as (_process, url):
        started = httpx2.post(
            f"{url}/api/v1/run/start", json={"flow": "double.v1", "input": {"n": 4}, "id": "d"}, timeout=LIMIT_S
        )
        assert (started.status_code, started.json()) == (200, {"id": "d", "status": "queued"})
        worker = [*STEPFLOW, "worker", "shop_flows", "--store", "sqlite:///shop.db", "--until-idle"]
        subprocess.run(worker, cwd=tmp_path, check=True, timeout=LIMIT_S)
        found = httpx2.get(f"{url}/api/v1/run", params={"id": "d"}, timeout=LIMIT_S).json()
        assert (found["info"]["status"], found["exchange"]) == ("completed", {"n": 8})
        (entry,) = httpx2.get(f"{url}/api/v1/audit", timeout=LIMIT_S).json()["entries"]
        assert (entry["who"], entry["verb"], entry["target"]) == ("local", "start_run", "d")


KILLED = """
import os
import signal

from stepflow.engine.client.bulk import Bulk

commit, batches = Bulk.commit, []


async def commit_some(bulk, commits):
    batches.append(len(commits))
    if len(batches) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return await commit(bulk, commits)


Bulk.commit = commit_some
"""


def test_a_server_that_is_killed_in_a_bulk_verb_has_told_the_audit_what_it_was_about_to_do(tmp_path):
    (tmp_path / "double_flows.py").write_text(FLOWS)
    (tmp_path / "killed_flows.py").write_text(KILLED + FLOWS)
    sys.path.insert(0, str(tmp_path))
    try:
        flow = import_module("double_flows").double
    finally:
        sys.path.remove(str(tmp_path))
    with Engine(f"sqlite:///{tmp_path}/shop.db") as engine:
        engine.start_many(flow, [(f"d{number:03}", {"n": number}) for number in range(300)])
    cancel: dict[str, Any] = {"filter": {"flow": "double.v1"}, "dry_run": False}
    with serving(tmp_path, "--flows", "killed_flows", "--store", "sqlite:///shop.db") as (process, url):
        with pytest.raises(httpx2.RemoteProtocolError):
            httpx2.post(f"{url}/api/v1/runs/cancel", json=cancel, timeout=LIMIT_S)
        assert process.wait(LIMIT_S) == -signal.SIGKILL
    with serving(tmp_path, "--store", "sqlite:///shop.db") as (process, url):
        (entry,) = httpx2.get(f"{url}/api/v1/audit").json()["entries"]
        told = entry["verb"], entry["outcome"], entry["ended"], entry["arguments"]
        assert told == ("cancel_runs", "begun", None, {"filter": {"flow": "double.v1"}})
        some = httpx2.get(f"{url}/api/v1/tally").json()["flows"]["double.v1"]["cancelled"]
        assert 0 < some < 300
        again = httpx2.post(f"{url}/api/v1/runs/cancel", json=cancel, timeout=LIMIT_S).json()
        assert again["count"] == 300 - some
        found = httpx2.get(f"{url}/api/v1/audit").json()["entries"]
        assert [(one["outcome"], one["result"].get("count")) for one in found] == [
            ("done", 300 - some),
            ("begun", None),
        ]


def test_settings_come_from_options_the_environment_and_a_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "server.toml").write_text('port = 1\nhost = "::1"\nstore = "sqlite:///file.db"\n')
    monkeypatch.setenv("STEPFLOW_PORT", "2")
    assert run(["serve", "--config", str(tmp_path / "server.toml"), "--print-config", "--host", "localhost"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["host"], printed["port"], printed["store"]) == ("localhost", 2, "sqlite:///file.db")
    assert run(["serve", "--print-config", "--store", "postgresql://me:secret@db/app"]) == 0
    assert json.loads(capsys.readouterr().out)["store"] == "postgresql://me:***@db/app"
    assert run(["serve", "--print-config", "--store", "https://secret@up.example"]) == 0
    assert json.loads(capsys.readouterr().out)["store"] == "https://***@up.example"


WRONG = {
    "other machines without tokens": (["--host", "0.0.0.0"], 2, "give --tokens FILE"),
    "a certificate without a key": (["--certificate", "x.pem"], 2, "give --certificate and --key together"),
    "no such config": (["--config", "none.toml"], 2, "No such file"),
    "an unknown setting": (["--config", "wrong.toml"], 2, "'prot' is no setting: use "),
    "no such store": (["--store", "oracle://x"], 1, "oracle"),
    "no such flows": (["--flows", "nowhere.flows"], 2, "there is no module 'nowhere.flows'"),
    "no such tokens": (["--tokens", "none.toml"], 1, "No such file"),
}


@pytest.mark.parametrize(("options", "code", "text"), WRONG.values(), ids=WRONG)
def test_wrong_use(tmp_path, monkeypatch, capsys, options, code, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.toml").write_text("prot = 1\n")
    assert run(["serve", *options]) == code
    assert text in capsys.readouterr().err
