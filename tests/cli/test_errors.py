"""Wrong input is reported in one line that names the fix, with the documented exit code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import stepflow.cli
from stepflow import StepflowError
from stepflow.cli.app import VERBS, ImportedVerbs
from stepflow.cli.refusals import one_line, wants_json

FLOWS = {
    "broken": "import json\n1 / 0\n",
    "needy": "import there_is_no_such_module\n",
    "chain": "from stepflow import named\norder = named('order.v1').do('a', print)\n",
    "empty": "",
    "wrong": "from stepflow import named\nnamed('a').do('', print).do('b', 3).compile()\n",
    "syntax": "x = (\n",
    "leaving": "import sys\n\nsys.exit(3)\n",
    "two": "from stepflow import named\na = named('a').compile()\nb = named('b').compile()\n",
}
CASES = [
    (["show", "nobody"], 1, "no run 'nobody'"),
    (["start", "shop", '{"number": 1}', "--id", ""], 1, "non-empty text"),
    (["start", "shop", '{"number": "x"}'], 1, "the input does not fit flow 'order.v1'"),
    (["start", "shop", '{"number": 1, "colour": 2}'], 1, "colour"),
    (["start", "shop", "{"], 2, "is not JSON"),
    (
        ["start", "shop", '{"number": "007"}'],
        1,
        "the input does not fit flow 'order.v1': number: \"007\" does not fit: give a whole number, e.g. 3",
    ),
    (["run", "shop", '{"number": "007"}'], 1, 'number: "007" does not fit: give a whole number, e.g. 3'),
    (["start", "shop", "007"], 2, "'\"007\"'"),
    (["start", "shop", "{}", "--at", "2030-01-31"], 2, "with its offset"),
    (["start", "shop", "{}", "--label", "tenant"], 2, "give key=value"),
    (["start", "shop:order_flo", "{}"], 2, "did you mean order_flow?"),
    (["start", "two", "{}"], 2, "name one, e.g. two:order_flow"),
    (["publish", "order-1", "approved", "Ada"], 2, "'\"Ada\"'"),
    (["prune", "--older-than", "30"], 2, "30d"),
    (["list", "--status", "lost"], 2, "'lost' is not one of"),
    (["list", "--store", "mysql://x"], 1, "no driver for mysql://"),
    (["list", "--store", "shop.db"], 1, "no store URL"),
    (["worker", "nothing"], 2, "there is no module 'nothing'"),
    (["worker", "empty"], 2, "defines no flow"),
    (["worker", "chain"], 2, "order: call .compile()"),
    (["worker", "broken"], 1, "ZeroDivisionError: division by zero (/"),
    (["worker", "needy"], 1, "there_is_no_such_module"),
    (["worker", "wrong"], 1, "a: a step has the name ''"),
    (["worker", "shop", "--concurrency", "0"], 2, "concurrency"),
    (["worker", "syntax"], 1, "SyntaxError: '(' was never closed ("),
    (["worker", "leaving"], 1, 'put code that is not a definition under `if __name__ == "__main__":` ('),
    (["worker", "shop/flows.py"], 2, "'shop/flows.py' is a path: give the module's name, shop.flows"),
    (["worker", "./shop.py"], 2, "give the module's name, shop"),
    (["worker", ""], 2, "'' is not a module name"),
    (["worker", ".shop"], 2, "'.shop' is not a module name: give one such as shop.flows"),
    (["worker", "shop:"], 2, "'shop:' names nothing after the colon: give shop, or shop:order_flow"),
    (["start", "shop"], 1, "expected an object with the fields of Order (number, approved_by), found None"),
    (["start", "shop", "[1]"], 1, "expected an object with the fields of Order (number, approved_by), found [1]"),
    (["start", "shop", '{"number": 1.5}'], 1, "expected int, found 1.5 @ $.number"),
    (["start", "shop", '{"number": NaN}'], 2, "is not JSON: NaN is not a JSON number"),
    (["publish", "order-1", "approved", "[" * 200_000], 2, "is not JSON"),
    (["publish", "order-1", ""], 1, "give the event's name"),
    (["prune", "--older-than", "99999999999999d"], 2, "this duration is too long"),
    (["list", "--store", "memory://"], 2, "memory:// is empty and would be lost at the end of this command"),
    (["list", "--store", "sqlite:///missing.db?mode=ro"], 1, "/missing.db: check --store"),
    (["diagram", "two:a", "--run", "order-1"], 1, "run 'order-1' belongs to flow 'order.v1', not to 'a'"),
    (["worker", "shop", "--store", "sqlite:///shop.db?mode=ro"], 1, "leave that out to write"),
    (["tial", "order-1"], 2, "No such command 'tial'"),
    (["status", "order-1"], 2, "No such command 'status': did you mean 'show'?"),
    (["terminate", "order-1"], 2, "No such command 'terminate': did you mean 'cancel'?"),
    (["start", "order.v1"], 2, "on PYTHONPATH; if it is a flow, name its module, too: MODULE:order.v1"),
    (["--namespace", "a", "list"], 2, "--namespace stands behind the verb: stepflow list --namespace"),
    (
        ["schedule", "--store", "sqlite:///a.db", "list"],
        2,
        "--store stands behind the verb: stepflow schedule list --store",
    ),
    (["token", ""], 2, "'': give a text that can be printed"),
    (["token", "a\nb"], 2, "give a text that can be printed"),
    (["token", "ops", "--only", "a b"], 2, "'a b': use letters, digits, '.', '_' and '-'"),
]


@pytest.mark.parametrize(
    ("args", "code", "message"), CASES, ids=lambda v: " ".join(v)[:60] if isinstance(v, list) else ""
)
def test_the_message_names_the_fix(stepflow, tmp_path, args, code, message):
    for name, text in FLOWS.items():
        (tmp_path / f"{name}.py").write_text(text)
    stepflow("start", "shop", '{"number": 1}', "--id", "order-1")
    out = stepflow(*args)
    assert out == "" or out.startswith("worker on ")
    assert (stepflow.code, message in stepflow.err) == (code, True), stepflow.err
    assert "Traceback" not in stepflow.err
    assert "upgrade" not in stepflow.err  # nothing of this is about what was stored before
    assert [line for line in stepflow.err.splitlines() if line.lower().startswith("error:")] == [
        stepflow.err.splitlines()[-1]
    ]
    assert stepflow(*args, "--json") == ""
    told = json.loads(stepflow.err.splitlines()[-1])
    assert (stepflow.code, told["exit_code"], told.keys()) == (code, code, {"error", "message", "exit_code"})
    assert message in told["message"]
    assert (told["error"] == "UsageError") is (code == 2)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_as_json(stepflow, verb):
    assert stepflow(verb, "--json", "--no-such-option") == ""
    (line,) = stepflow.err.splitlines()
    told = json.loads(line)
    assert (stepflow.code, told["error"], told["exit_code"]) == (2, "UsageError", 2)
    assert "--no-such-option" in told["message"] or "'--json'" in told["message"] or "--json" in told["message"]


def test_of_several_ids_each_that_is_refused_is_an_object(waiting):
    out = waiting("resume", "lost", "order-1", "order--1", "--json")
    assert [json.loads(line) for line in out.splitlines()] == [{"id": "order-1", "status": "waiting"}]
    told = [json.loads(line) for line in waiting.err.splitlines()]
    assert [(one["id"], one["error"], one["exit_code"]) for one in told] == [
        ("lost", "NotFound", 1),
        ("order--1", "RunEnded", 1),
    ]
    assert waiting.code == 1


def test_the_text_behind_two_dashes_is_no_option():
    assert wants_json(["show", "--json", "--", "a"])
    assert not wants_json(["show", "--", "--json"])


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_without_the_extra_the_install_line_is_told(monkeypatch, capsys, option):
    monkeypatch.setattr(stepflow.cli, "NEEDS", ("a_package_that_is_not_there",))
    monkeypatch.setattr("sys.argv", ["stepflow", "list", *option])
    with pytest.raises(SystemExit) as left:
        stepflow.cli.main()
    told = capsys.readouterr().err
    assert left.value.code == 2
    assert 'pip install "stepflow[cli]"' in (json.loads(told)["message"] if option else told)


def test_refusals_are_written_in_one_place():
    for file in Path(stepflow.cli.__file__).parent.glob("*.py"):
        assert re.search(r"[\"']error: |ClickException\(", file.read_text()) is None or file.name in (
            "refusals.py",
            "__init__.py",
        ), file


def test_looking_at_a_store_that_is_not_there_does_not_create_it(stepflow, tmp_path):
    assert stepflow("list") == ""
    assert (stepflow.code, f"there is no store at {tmp_path / 'shop.db'}" in stepflow.err) == (1, True)
    assert not (tmp_path / "shop.db").exists()


def test_without_a_store_the_message_names_both_ways_and_the_demo(stepflow, tmp_path, monkeypatch):
    monkeypatch.delenv("STEPFLOW_STORE")
    stepflow("list")
    assert stepflow.code == 2
    assert "--store sqlite:///orders.db or set STEPFLOW_STORE" in stepflow.err
    assert "demo.db" not in stepflow.err
    (tmp_path / "demo.db").touch()
    stepflow("list")
    assert "--store sqlite:///demo.db" in stepflow.err


def test_another_input_for_the_same_id_is_refused(waiting):
    waiting("start", "shop", '{"number": 2}', "--id", "order-1")
    assert (waiting.code, "another input" in waiting.err) == (1, True)


def test_help_lists_every_verb_and_the_exit_codes(stepflow):
    text = stepflow("--help")
    assert stepflow.code == 0
    for word in ("worker", "list", "show", "tail", "explain", "start", "publish", "cancel", "retry", "doctor", "130"):
        assert word in text


def test_the_notes_of_an_error_are_shown():
    error = StepflowError("the store is gone")
    error.add_note("60 runs were changed before this; repeat the call for the others")
    assert one_line(error) == "the store is gone; 60 runs were changed before this; repeat the call for the others"


def test_the_words_of_other_tools_are_no_verbs_and_lead_to_one():
    assert not ImportedVerbs.elsewhere.keys() & set(VERBS)
    assert set(ImportedVerbs.elsewhere.values()) <= set(VERBS)
