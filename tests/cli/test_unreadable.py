"""Verbs on a store whose values are encrypted, without the key: everything is shown but the values, and which key is needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from stepflow import CodecError, Context, Engine, Fernet, workflow
from stepflow.model.codec import UNREADABLE

KEY = Fernet.generate_key()
KEY_ID = sha256(KEY.encode()).hexdigest()[:12]
MARKER = "Xylophone"


def pay(what: str) -> str:
    if what == "bad":
        raise ValueError(f"no {MARKER}")
    return f"{what} {MARKER}"


@workflow("pay")
def paying(wf: Context, what: str) -> str:
    wf.execute("pay", pay, what)
    return wf.wait_for_event("answer", "answer", str)


@pytest.fixture
def store(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'sealed.db'}"
    with Engine(url, payload=[Fernet([KEY])]) as engine:
        engine.register(paying)
        for run_id in ("waits", "done", "bad"):
            engine.start(paying, run_id, id=run_id)
        engine.get("done").publish("answer", MARKER)
        engine.run_until_idle()
    return url


@pytest.mark.parametrize("run_id", ["waits", "done", "bad"])
@pytest.mark.parametrize("verb", ["show", "explain", "tail"])
def test_a_verb_shows_what_it_can_and_names_the_key(
    stepflow: Callable[..., Any], store: str, verb: str, run_id: str
) -> None:
    options = ["--no-follow"] if verb == "tail" else []
    out = stepflow(verb, run_id, *options, "--store", store)
    assert MARKER not in out
    if verb != "tail":
        assert run_id in out
        assert f"the run was started with the key {KEY_ID}" in out
    if verb == "show":
        assert "step pay" in out
        assert UNREADABLE in out


def test_show_as_json_has_the_history_without_the_values(stepflow: Callable[..., Any], store: str) -> None:
    shown = json.loads(stepflow("show", "done", "--json", "--store", store))
    assert shown["exchange"] is None
    assert KEY_ID in shown["info"]["unreadable"]
    assert [(one["exchange"], one["unreadable"] != "") for one in shown["history"]] == [(None, True)] * 2
    listed = json.loads(stepflow("list", "--json", "--store", store))
    assert [(one["id"], one["unreadable"]) for one in listed] == [("bad", ""), ("done", ""), ("waits", "")]


def test_a_handle_names_the_key(store: str) -> None:
    with Engine(store) as engine:
        run = engine.get("waits")
        with pytest.raises(CodecError, match=KEY_ID):
            run.exchange()
        assert [entry.exchange for entry in run.history()] == [None, None]
    with Engine(store, payload=[Fernet([KEY])]) as engine:
        assert engine.get("waits").info().unreadable == ""
        assert all(entry.exchange == "waits" and not entry.unreadable for entry in engine.get("waits").history())
