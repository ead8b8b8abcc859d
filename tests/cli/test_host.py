"""Wrong uses of the verb `host` and of `worker --remote` name the fix, and write nothing."""

from __future__ import annotations

import pytest

FUNCTIONS = """
from stepflow import Command, StateCtx, commit, flow, park

@flow("mail.send")
def send(ctx: StateCtx) -> Command:
    return commit(park(ctx))
"""
URL = ("--url", "http://127.0.0.1:9000")
SECRET = ("--secret-file", "secret")
WRONG = {
    "no URL": (("host", "mails", *SECRET), 2, "--url"),
    "no secret": (("host", "mails", *URL), 2, "give --secret-file FILE: calls of hosts are signed"),
    "no file of a secret": (
        ("host", "mails", *URL, "--secret-file", "missing"),
        1,
        "--secret-file missing: No such file",
    ),
    "a short secret": (("host", "mails", *URL, "--secret-file", "short"), 1, "at least 32 characters"),
    "no function": (
        ("host", "shop", *URL, *SECRET),
        2,
        "shop defines no flow function: let a worker advance its flows",
    ),
    "a URL with a user": (("host", "mails", "--url", "http://a@b:1", *SECRET), 1, "is no URL of a host"),
    "a wrong address": (("host", "mails", *URL, "--listen", "9000", *SECRET), 2, "give HOST:PORT, e.g. 0.0.0.0:9000"),
    "a key without a certificate": (
        ("host", "mails", *URL, "--key", "k.pem", *SECRET),
        2,
        "--certificate and --key together",
    ),
    "a worker without anything": (("worker",), 2, "Missing argument 'MODULE...'"),
    "a worker without a secret": (("worker", "--remote", "loopback"), 2, "give --secret-file FILE"),
    "a worker with a wrong URL": (("worker", "--remote", "10.0.0.7", *SECRET), 1, "is no URL of a host"),
}


@pytest.fixture
def folder(stepflow, tmp_path):
    (tmp_path / "mails.py").write_text(FUNCTIONS)
    (tmp_path / "secret").write_text("of the tests, of no use elsewhere\n")
    (tmp_path / "short").write_text("short\n")
    return tmp_path


@pytest.mark.parametrize("name", WRONG)
def test_the_message_names_the_fix(stepflow, folder, name):
    arguments, code, text = WRONG[name]
    stepflow(*arguments)
    assert stepflow.code == code
    assert text in stepflow.err
    assert "of no use elsewhere" not in stepflow.err
    assert not list(folder.glob("*.db"))


def test_a_worker_may_call_hosts_and_advance_flows_of_its_own(stepflow, folder):
    stepflow("start", "shop", '{"number": 1}', "--id", "order-1")
    out = stepflow("worker", "shop", "--remote", "loopback", *SECRET, "--until-idle")
    assert (stepflow.code, "order.v1, flows of loopback" in out) == (0, True)
    assert "waiting" in stepflow("show", "order-1")


def test_a_flow_that_hosts_serve_is_started_by_its_name(stepflow, folder):
    assert stepflow("start", "mail.send", "--remote", "--id", "mail-1", "--label", "to=ada") == "mail-1\n"
    shown = stepflow.json("show", "mail-1")["info"]
    assert (shown["flow"], shown["status"], shown["labels"]) == ("mail.send", "queued", {"to": "ada"})
    stepflow("worker", "mails", "--until-idle")
    assert stepflow.json("show", "mail-1")["info"]["status"] == "parked"


def test_an_input_is_none_of_a_flow_that_hosts_serve(stepflow, folder):
    stepflow("start", "mail.send", "7", "--remote")
    assert stepflow.code == 1
    assert "the input does not fit flow 'mail.send'" in stepflow.err


def test_a_name_that_is_no_module_leads_to_the_option(stepflow, folder):
    stepflow("start", "mail.send")
    assert "MODULE:mail.send, or start it by --remote if hosts serve it" in stepflow.err
    stepflow("worker", "mail.send")
    assert "--remote" not in stepflow.err
