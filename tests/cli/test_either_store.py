"""Each verb says and does the same on the URL of a store and on that of a server of the same store: side by side, on copies of one file."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from stepflow import Engine
from stepflow.cli.app import VERBS
from tests.http.served import Served
from tests.processes.harness import eventually

FLOWS = """
from stepflow import named


def check(order: dict[str, int]) -> None:
    if order["number"] < 0:
        raise ValueError("no such order")


order_flow = (
    named("order.v1", dict[str, int]).do("check", check)
    .wait_event("approval", "approved", str, lambda order, by: None).do("ship", lambda order: None).compile()
)
"""
AT = "completed:order.v1/check"
NO_STORE = {"host", "serve", "token"}  # they have no --store, or are servers themselves
CASES = {
    "audit": [["audit"]],
    "bench": None,  # measures, and its own test looks at what it leaves
    "cancel": [["cancel", "waits"], ["cancel", "ended", "gone"], ["cancel", "--open", "--yes"], ["cancel", "--all"]],
    "check": [["check", "either_shop"]],
    "diagram": [["diagram", "either_shop", "--run", "waits"]],
    "doctor": [["doctor"]],
    "explain": [["explain", "waits"], ["explain", "failed"], ["explain", "gone"]],
    "fork": [["fork", "waits", "--step", AT, "--id", "copy"], ["fork", "--step", AT, "--suffix", "-b", "--all", "--yes"]],
    "list": [["list"], ["list", "--count"], ["list", "--status", "failed", "--order", "updated"], ["list", "--limit", "1"]],
    "migrate": [["migrate"]],
    "move": [["move", "either_shop", "waits", "--to", "start:order.v1", "--yes"], ["move", "either_shop", "waits", "--to", "x"]],
    "pause": [["pause", "waits"], ["pause", "--flow", "order.v1"], ["pause", "--status", "waiting", "--yes"]],
    "prune": [["prune", "--older-than", "0s"]],
    "publish": [["publish", "waits", "approved", '"Ada"'], ["publish", "waits", "approved", "7"], ["publish", "ended", "approved"], ["publish", "approved", "7", "--all", "--flows", "either_shop"]],
    "publish-topic": [["publish-topic", "news", '{"a": 1}', "--id", "1"]],
    "redrive": [["redrive", "failed"], ["redrive", "ended"], ["redrive", "--status", "failed", "--yes"]],
    "resolve": [["resolve", "waits", "order.v1/check"]],
    "resume": [["resume", "waits"], ["resume", "--flow", "order.v1"], ["resume", "--all", "--yes"]],
    "retry": [["retry", "failed"], ["retry", "--all"]],
    "rewind": [["rewind", "waits", "--rev", "1"], ["rewind", "waits", "--step", "order.v1/none"], ["rewind", "--step", AT, "--all", "--yes"]],
    "run": [["run", "either_shop", '{"number": -1}', "--id", "new"]],
    "schedule": [["schedule", "list"], ["schedule", "show", "nightly"], ["schedule", "pause", "nightly"], ["schedule", "show", "none"]],
    "show": [["show", "waits"], ["show", "failed"], ["show", "gone"]],
    "start": [["start", "either_shop", '{"number": 5}', "--id", "new"], ["start", "either_shop", '{"number": 5}', "--id", "waits"], ["start", "either_shop", '{"number": "5"}']],
    "tail": [["tail", "ended"], ["tail", "gone"]],
    "wake": [["wake", "waits"], ["wake", "--all"]],
    "worker": [["worker", "either_shop", "--until-idle"]],
}  # fmt: skip
ALL = [pytest.param(args, id=" ".join(args)) for cases in CASES.values() if cases for args in cases]
OF_THE_STORE = {"migrate"}  # a server has its schema itself, so the number is not told through it


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A store with runs of three statuses and a schedule."""
    folder = tmp_path_factory.mktemp("either")
    (folder / "either_shop.py").write_text(FLOWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        from either_shop import order_flow

        with Engine(f"sqlite:///{folder}/base.db") as engine:
            engine.register(order_flow)
            for number, run_id in ((1, "waits"), (2, "ended"), (-1, "failed")):
                engine.start(order_flow, {"number": number}, id=run_id)
            engine.get("ended").publish("approved", "Bob")
            engine.run_until_idle()
            engine.schedule("nightly", order_flow, {"number": 1}, cron="30 2 * * *")
        yield folder


def told(stepflow, url, args):
    """What the verb prints, with the store's URL, times and ids that are made anew left out; with `--json` stdout is JSON alone."""
    out = stepflow(*args, "--store", url)
    if "--json" in args:
        assert (len(documents(out)) > 0) >= (stepflow.code == 0), out
    text = "\n".join([f"exit {stepflow.code}", out, "--", stepflow.err])
    text = re.sub(r"(sqlite|https?)://[^\s,'\")\\]*[^\s,'\")\\:;]", "STORE", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?", "TIME", text)
    text = re.sub(r"\b\d+(\.\d+)? ?(ms|s|seconds?)\b", "SPAN", text)
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|t\d+-[0-9a-f]+", "UUID", text)


def documents(out):
    """The JSON values that the text consists of: RFC 8259 has no NaN, and each begins in a line of its own."""
    found, decoder = [], json.JSONDecoder(parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    while out := out.lstrip("\n"):
        value, end = decoder.raw_decode(out)
        assert out[end : end + 1] in ("\n", ""), out
        found.append(value)
        out = out[end:]
    return found


def listed(stepflow, store):
    """All runs, when none is due in the future any more: a client's estimate of the server's time may be ahead of it by a part of a request."""
    found = [""]

    def awake():
        found[0] = told(stepflow, store, ["list", "--limit", "100", "--order", "id"])
        return "sleeping" not in found[0]

    eventually(awake)
    return found[0]


def test_each_verb_is_looked_at():
    assert set(CASES) == set(VERBS) - NO_STORE


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("args", ALL)
def test_the_same_on_a_store_and_on_its_server(stepflow, base, monkeypatch, tmp_path, args, form):
    monkeypatch.syspath_prepend(str(base))
    given = args + (["--json"] if form == "json" else [])
    answers, lists = [], []
    for name in ("plain", "served"):
        shutil.copy(base / "base.db", tmp_path / f"{name}.db")
        store = f"sqlite:///{tmp_path}/{name}.db"
        served = Served(store) if name == "served" else None
        try:
            answers.append(told(stepflow, store if served is None else served.url, given))
        finally:
            if served is not None:
                served.close()
        lists.append(listed(stepflow, store))
    if args[0] in OF_THE_STORE:
        answers = [answer.partition("\n")[0] for answer in answers]
    assert answers[1] == answers[0]
    assert lists[1] == lists[0]
