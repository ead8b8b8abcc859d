"""A wrong keyword of what users call to define something names the keywords that there are, and the nearest or what to write instead."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Any

import attrs
import pytest

import stepflow
from stepflow import AsyncEngine, Engine, RetryPolicy, Steps, named, workflow
from stepflow import flow as flow_decorator
from stepflow.model.keywords import keywords
from stepflow.remote import RemoteHosts
from stepflow.testing import VirtualClock
from tests.house.reference import ERRORS, MADE, words

# Commands have few keywords, which are positions; these are classes of users' own, or what stepflow makes.
OTHERS = words(
    "Stage FlowEngine Status Page Blocked ChildHandle First Affected PausedFlow ScheduleInfo Command StateCtx RunKey MemoryDriver Steps"
    " Execute GetData GetDelayedStates GetStateByID GetStateByLabels GetStates Noop Stack StoreData Unstack"
)
CLASSES = [
    value
    for name in stepflow.__all__
    if isinstance(value := getattr(stepflow, name), type) and name not in MADE | ERRORS | OTHERS
]


def do_nothing() -> None:
    pass


def refused(call: Any, *args: Any, **given: Any) -> str:
    """The text with which a call is refused."""
    with pytest.raises(TypeError) as raised:
        call(*args, **given)
    assert raised.value.__cause__ is None
    return str(raised.value)


@pytest.mark.parametrize(
    "made", [*CLASSES, RemoteHosts, VirtualClock, workflow, flow_decorator], ids=lambda made: made.__name__
)
def test_every_public_constructor_names_its_keywords(made: Any) -> None:
    text = refused(made, nonsense=7)
    assert text.startswith(f"{made.__name__}(nonsense=7): there is no keyword nonsense=: it takes ")


def test_the_nearest_keyword_is_suggested() -> None:
    text = refused(RetryPolicy, attempts=3)
    assert text.startswith(
        "RetryPolicy(attempts=3): there is no keyword attempts=, did you mean max_attempts=? it takes max_attempts, delay"
    )
    assert "did you mean timeout=?" in refused(named("a").do, "b", do_nothing, time_out=3)
    assert "did you mean keep=?" in refused(Engine, "memory://", keeps=3)
    assert "the first attempt, too" in refused(RetryPolicy, max_retries=3)


def test_a_retry_of_a_single_step_leads_to_the_group() -> None:
    text = refused(named("a").do, "charge", do_nothing, retry=RetryPolicy())
    assert '.retry("payment", RetryPolicy(max_attempts=3), Steps().do("charge", charge))' in text
    named("a").retry("payment", RetryPolicy(max_attempts=3), Steps().do("charge", do_nothing)).compile()


def test_methods_of_a_blocking_engine_and_its_runs_tell_of_their_keywords() -> None:
    flow = named("a").do("b", do_nothing).compile()
    with Engine("memory://", clock=VirtualClock()) as engine:
        assert refused(engine.start, flow, labl=1).startswith(
            "Engine.start(labl=1): there is no keyword labl=, did you mean label"
        )
        assert refused(engine.runs, state="failed").startswith(
            "Engine.runs(state='failed'): there is no keyword state=, did you mean status=?"
        )
        assert "give at=, a datetime" in refused(engine.start, flow, delay=60)
        assert "give it behind the flow, start(flow, input); it takes flow, exchange" in refused(
            engine.start, flow, input=1
        )
        assert ": give id=; it takes flow" in refused(engine.start, flow, workflow_id="a")
        assert "give a RunFilter with it, runs(RunFilter(...))" in refused(engine.runs, id_prefix="2030/")
        run = engine.start(flow)
        assert refused(run.result, time_out=3).startswith(
            "Run.result(time_out=3): there is no keyword time_out=, did you mean timeout=?"
        )


def test_the_other_form_of_with_is_named() -> None:
    async def both() -> None:
        with pytest.raises(TypeError, match="`async with` of Engine: write `with`, or use AsyncEngine"):
            async with Engine("memory://"):  # type: ignore[attr-defined]
                pass
        async with AsyncEngine("memory://") as engine:
            with pytest.raises(TypeError, match="`with` of AsyncBackgroundWorker: write `async with`"), engine.worker():  # type: ignore[attr-defined]
                pass

    asyncio.run(both())
    with (
        pytest.raises(TypeError, match="`with` of AsyncEngine: write `async with`, or use Engine"),
        AsyncEngine("memory://"),
    ):  # type: ignore[attr-defined]
        pass


def test_a_time_limit_of_a_whole_run_leads_to_run_timeout() -> None:
    remedy = "the time limit of a whole run is run_timeout=, in seconds or a timedelta"
    with Engine("memory://", clock=VirtualClock()) as engine:
        flow = named("a").do("b", do_nothing).compile()
        for call in (named("a").do("b", do_nothing).compile, workflow, partial(engine.start, flow)):
            assert remedy in refused(call, timeout=60)
        assert "let a delay move them on" in refused(flow_decorator, timeout=60)


def test_a_function_without_keywords_says_so() -> None:
    assert refused(keywords()(lambda *_given: None), a=1).endswith("there is no keyword a=: it takes none")


def test_what_is_raised_inside_and_other_mistakes_stay_as_they_are() -> None:
    @keywords()
    def inner(given: int, **_more: int) -> None:
        raise TypeError(f"given {given}")

    assert refused(inner, 1) == "given 1"
    assert refused(inner, other=1).endswith("missing 1 required positional argument: 'given'")
    assert "missing 1 required positional argument: 'fn'" in refused(named("a").do, "b")
    assert "multiple values" in refused(RetryPolicy, 3, max_attempts=3)


def test_a_policy_is_the_class_that_it_was() -> None:
    assert attrs.evolve(RetryPolicy(max_attempts=3), delay=2.0) == RetryPolicy(3, 2.0)
    assert re.match(r"RetryPolicy\(max_attempts=3, ", repr(RetryPolicy(3)))
