"""A name that no event or topic can have is refused by those that would wait for it, as by those that would publish it."""

from __future__ import annotations

import pytest

from stepflow import AsyncContext, Context, DefinitionError, Engine, StepflowError, named, workflow

WRONG = {
    "501 bytes": ("x" * 501, "has 501 bytes: give at most 500"),
    "502 bytes of 251 characters": ("ü" * 251, "has 502 bytes"),
    "control characters, stored as two bytes": ("\1" * 251, "has 502 bytes"),
    "half of a surrogate pair": ("\ud800", "half of a surrogate pair cannot be encoded"),
    "ours": ("stepflow.child:a", "names that begin with 'stepflow.' are stepflow's"),
}
NAMES = pytest.mark.parametrize(("name", "why"), WRONG.values(), ids=WRONG)


@NAMES
def test_a_chain_that_waits_for_it_is_not_compiled(name, why):
    chain = named("chain", list).wait_event("w", name, int, lambda found, payload: found.append(payload))
    with pytest.raises(DefinitionError, match=why):
        chain.compile()


def waiting(name):
    @workflow("waits")
    def waits(wf: Context, _inp: None) -> int:
        return wf.wait_for_event("w", name, int)

    return waits


def choosing(name):
    @workflow("chooses")
    async def chooses(wf: AsyncContext, _inp: None) -> int:
        return (await wf.first_of("f", wf.event(name, int), wf.timer(1000))).value

    return chooses


@pytest.mark.parametrize("flow_of", [waiting, choosing])
@NAMES
def test_a_workflow_that_waits_for_it_is_blocked(flow_of, name, why):
    with Engine("memory://") as engine:
        run = engine.start(flow_of(name), None)
        engine.register(flow_of(name))
        engine.run_until_idle()
        assert why in str(run.info().blocked)


@NAMES
def test_it_is_not_published(name, why):
    with Engine("memory://") as engine:
        run = engine.start(waiting("usual"), None)
        with pytest.raises(StepflowError, match=why):
            run.publish(name, 1)


@pytest.mark.parametrize("name", ["x" * 401, "half \ud800", "with\0NUL"])
def test_a_topic_has_one_rule_too(name):
    @workflow("hears")
    def hears(wf: Context, _inp: None) -> int:
        return wf.wait_for_topic("t", name, int)

    with Engine("memory://") as engine:
        with pytest.raises(StepflowError, match="publish_topic") as refused:
            engine.publish_topic(name, 1)
        run = engine.start(hears, None)
        engine.register(hears)
        engine.run_until_idle()
        assert str(refused.value).partition("): ")[2] in str(run.info().blocked)


@pytest.mark.parametrize("name", ["x" * 500, "ü" * 250, "\0", " "])
@pytest.mark.parametrize("flow_of", [waiting, choosing])
def test_the_longest_and_the_strangest_that_is_allowed_arrives(flow_of, name):
    flow = flow_of(name)
    with Engine("memory://") as engine:
        engine.register(flow)
        run = engine.start(flow, None)
        engine.run_until_idle()
        run.publish(name, 7)
        engine.run_until_idle()
        assert run.result() == 7
