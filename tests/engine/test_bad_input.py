"""Wrong arguments, wrong times and wrong places: each raises an error that names the remedy, and nothing is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from stepflow import (
    CodecError,
    DefinitionError,
    Engine,
    ResultTimeout,
    StepflowError,
    Steps,
    StoreError,
    named,
)
from tests.engine.flows import Order, chain, note


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (named("x", Order).do("a", note("a")), r"call \.compile\(\) on the chain first"),
        (Steps(Order), r"call \.compile\(\)"),
        (
            note("a"),
            r"not a flow; give the flow itself: a compiled chain, or a function decorated with @workflow\(NAME\) or",
        ),
        ("order", r"not a flow; give the flow itself, not its name: a compiled chain"),
        ([note("a")], r"not a flow; give the flows one by one, register\(\*flows\)"),
        ("x", "not a flow"),
        (None, "not a flow"),
    ],
)
def test_register_takes_compiled_flows(engine, given, why):
    with pytest.raises(DefinitionError, match=why):
        engine.register(given)


def test_register_is_all_or_nothing(engine):
    flow = chain("x", "a")
    with pytest.raises(DefinitionError):
        engine.register(flow, "y")
    engine.start(flow, Order())
    assert engine.run_until_idle().completed == 0


@pytest.mark.parametrize("given", [named("x", Order).do("a", note("a")), "x", None, note("a")])
def test_start_takes_a_compiled_flow(engine, given):
    with pytest.raises(DefinitionError, match="not a flow"):
        engine.start(given, Order())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"id": ""}, "id='': give a non-empty text of at most 512 characters without NUL"),
        ({"id": 5}, "id=5"),
        ({"id": b"x"}, "id=b'x'"),
        ({"id": "a\0b"}, "without NUL"),
        ({"id": "x" * 513}, "at most 512"),
        ({"id": "half \ud800"}, "surrogate"),
        ({"labels": {"a": 1}}, "labels: 'a': 1: keys and values must be texts"),
        ({"labels": {1: "a"}}, "labels: 1"),
        ({"labels": {"": "a"}}, "labels"),
        ({"labels": ["a"]}, r"labels=\['a'\]: give a dict"),
        ({"labels": "a"}, "labels='a': give a dict"),
        ({"labels": {"a": "half \ud800"}}, "surrogate"),
        ({"at": "tomorrow"}, r"at='tomorrow': give an aware datetime, e\.g\. datetime\.now\(UTC\)"),
        ({"at": 5}, "at=5"),
        ({"at": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ({"priority": "high"}, "priority='high': give a whole number, low ones go first"),
        ({"priority": 1.5}, "priority=1.5"),
        ({"priority": True}, "priority=True"),
        ({"priority": 1 << 63}, "priority=9223372036854775808"),
        ({"dedup_window": 60}, "dedup_window=60: there is no dedup_key=: give it, too, or leave both out"),
    ],
)
def test_start_checks_its_options(engine, options, why):
    with pytest.raises(StepflowError, match=why):
        engine.start(chain("x", "a"), Order(), **options)
    assert engine.runs() == []


def test_the_usual_window_goes_without_a_key(engine):
    engine.start(chain("x", "a"), Order(), dedup_window=300)


@pytest.mark.parametrize("runs", [[1], ["ab"], [("a", Order(), 5)], {"a": Order()}, [Order()]])
def test_start_many_takes_pairs(engine, runs):
    with pytest.raises(StepflowError, match=r"is no pair: give \(id, input\) for each run"):
        engine.start_many(chain("x", "a"), runs)
    assert engine.runs() == []


def test_a_value_of_another_flow_says_so(engine):
    other = named("other", int).do("b", lambda: None).compile()
    engine.register(chain("x", "a"))
    run = engine.start(chain("x", "a"), Order(), id="one")
    for get in (engine.get(other, "one").exchange, engine.get(other, "one").result):
        with pytest.raises(CodecError, match="run 'one' is of flow 'x', not of 'other': get it with its own flow: "):
            get()
        engine.run_until_idle()
    assert run.status() == "completed"


@pytest.mark.parametrize("run_id", ["", 5, None, b"x", "a\0b"])
def test_get_takes_a_text(engine, run_id):
    with pytest.raises(StepflowError, match=r"id=.*give a non-empty text"):
        engine.get(run_id)
    with pytest.raises(StepflowError, match=r"id=.*give a non-empty text"):
        engine.get(chain("x", "a"), run_id)


def test_get_with_a_flows_name_is_refused(engine):
    with pytest.raises(StepflowError, match=r"get\('x', 'one'\): give the flow itself, or the id alone"):
        engine.get("x", "one")


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, "many", True, None])
def test_concurrency_is_a_positive_number(concurrency):
    with pytest.raises(StepflowError, match="concurrency="):
        Engine("memory://", concurrency=concurrency)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("namespace", 3),
        ("namespace", "a\0b"),
        ("namespace", "\ud800"),
        ("namespace", "x" * 513),
        ("keep", 30),
        ("keep_ids", 30),
        ("keep_ids", timedelta(days=-1)),
        ("retention", 30),
        ("retention", timedelta(days=-1)),
        ("clock", 3),
        ("clock", datetime.now(UTC)),
    ],
)
def test_an_engine_names_the_option_that_is_wrong(option, value):
    with pytest.raises(StepflowError, match=f"{option}="):
        Engine("memory://", **{option: value})


@pytest.mark.parametrize("timeout", ["1h", float("nan"), True])
def test_a_timeout_that_is_none_is_refused_at_once(engine, timeout):
    run = engine.start(named("x", Order).do("a", note("a")).compile(), Order())
    with pytest.raises(StepflowError, match="timeout="):
        run.result(timeout=timeout)


def test_a_timeout_may_be_a_timedelta(sqlite):
    with Engine(sqlite) as engine:
        run = engine.start(named("x", Order).do("a", note("a")).compile(), Order())
        with pytest.raises(ResultTimeout, match=r"within 0\.01 s"):
            run.result(timeout=timedelta(milliseconds=10))


@pytest.mark.parametrize("store", ["orders.db", "mysql://x", "", None, 5, "memory://path"])
def test_unknown_stores_are_refused(store):
    with pytest.raises(StoreError, match=r"memory://|sqlite:///"):
        Engine(store)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"status": "done"}, "status 'done'.*queued"),
        ({"limit": 0}, "limit=0"),
        ({"limit": "all"}, "limit='all'"),
        ({"labels": ["a"]}, "labels="),
        ({"after": "nobody"}, "after='nobody'"),
    ],
)
def test_listing_checks_its_options(engine, options, why):
    with pytest.raises(StepflowError, match=why):
        engine.runs(**options)


def test_a_limit_may_be_large(engine):
    run = engine.start(named("x", Order).do("a", note("a")).compile(), Order(), id="one")
    assert [info.id for info in engine.runs(limit=2**70)] == ["one"]
    assert len(run.history(2**70)) == 1


@pytest.mark.parametrize("older_than", [5, "a day", None])
def test_prune_takes_a_timedelta(engine, older_than):
    with pytest.raises(StepflowError, match=r"older_than=.*timedelta"):
        engine.prune(older_than)
