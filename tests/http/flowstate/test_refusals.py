"""What flowstate.v1 has no place for is refused, in words, and nothing is written."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stepflow import Engine, StateCtx, StoreError, commit, current, delay, flow, named, park, transit
from stepflow.cli.app import run
from stepflow.errors import ReadOnly
from stepflow.model.commands import Stack, StoreData

WORDS = r"is a flowstate server: flowstate\.v1 has States, delays and data, but no {}.*; read and move States by commands .*stepflow serve"
chain = named("chain.v1").do("a", print).compile()


@flow("f")
def function(ctx: StateCtx):
    return commit(park(ctx))


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda engine: engine.start(chain, id="r"), "runs"),
        (lambda engine: engine.start(function, id="r"), "runs"),
        (lambda engine: engine.start(function, id="r", priority=3), "runs"),
        (lambda engine: engine.get("s").publish("event", 1), "events"),
        (lambda engine: engine.get("s").status(), "runs"),
        (lambda engine: engine.get("s").info(), "runs"),
        (lambda engine: engine.get("s").cancel(), "runs"),
        (lambda engine: engine.get("s").explain(), "runs"),
        (lambda engine: engine.runs(), "lists of runs"),
        (lambda engine: engine.tally(), "lists of runs"),
        (lambda engine: engine.schedule("nightly", function, cron="30 2 * * *"), "schedules"),
        (lambda engine: engine.pause_flow("f"), "pauses"),
        (lambda engine: engine.publish_topic("news", 1, id="1"), "runs"),
    ],
)
def test_what_is_not_there_is_refused(flowstate_url, call, what):
    with Engine(flowstate_url) as engine:
        engine.register(chain, function)
        engine.do(commit(transit(StateCtx("s"), "elsewhere")))
        before = engine.states().states
        with pytest.raises(StoreError, match=WORDS.format(what)):
            call(engine)
        assert engine.states().states == before


def test_calls_that_are_made_once_are_refused(flowstate_url):
    errors: list[str] = []

    @flow("f")
    def work(ctx: StateCtx):
        try:
            current().once("key", lambda: 1)
        except StoreError as error:
            errors.append(str(error))
        return commit(park(ctx))

    with Engine(flowstate_url) as engine:
        engine.register(work)
        ctx = StateCtx("s")
        engine.do(commit(transit(ctx, "f")))
        engine.execute(ctx)
    assert len(errors) == 1
    assert "but no journal (once, workflows)" in errors[0]


def test_a_namespace_is_refused(flowstate_url):
    with pytest.raises(
        StoreError, match=r"namespace='shop': .* is a flowstate server, which has no namespaces: leave it out"
    ):
        Engine(flowstate_url, namespace="shop").open()


def test_a_callers_transaction_is_refused(flowstate_url):
    with Engine(flowstate_url) as engine, pytest.raises(StoreError, match="leave tx= out"):
        engine.start(function, id="r", tx=object())


def test_nothing_is_pruned(flowstate_url):
    with Engine(flowstate_url) as engine, pytest.raises(ReadOnly, match=r"which deletes nothing: .*keep=None"):
        engine.prune(timedelta(days=1))


def test_the_history_of_one_state_is_not_found(flowstate_url):
    with Engine(flowstate_url) as engine:
        engine.do(commit(park(StateCtx("s"))))
        with pytest.raises(StoreError, match=r"the history of State 's' cannot be read there: .*engine.iterate"):
            engine.get("s").history()


def test_what_cannot_be_told_in_one_commit_is_refused_and_nothing_is_written(flowstate_url):
    with Engine(flowstate_url) as engine:
        first, second, third = StateCtx("first"), StateCtx("second"), StateCtx("third")
        first.set_data("d", "x")
        later = commit(park(first), StoreData(first, "d"), delay(first, "f", 1))
        with pytest.raises(
            StoreError, match=r"'first': it was edited between its commit and its delay: .*commit it first"
        ):
            engine.do(later)
        nested = commit(park(first), Stack(second, first, "in"), park(second), Stack(third, second, "in"), park(third))
        with pytest.raises(StoreError, match="'second': it is stacked otherwise than as this commit writes it"):
            engine.do(nested)
        assert engine.states().states == ()
        assert (first.rev, second.rev, third.rev) == (0, 0, 0)


@pytest.mark.parametrize("where", ["labels", "annotations"])
def test_an_empty_name_is_refused(flowstate_url, where):
    ctx = StateCtx("s")
    getattr(ctx, where)[""] = "x"
    with Engine(flowstate_url) as engine, pytest.raises(Exception, match=r"empty name|empty"):
        engine.do(commit(park(ctx)))


def test_bytes_that_are_no_text_must_be_marked(flowstate_url):
    ctx = StateCtx("s")
    ctx.set_data("d", b"\xff\xfe")
    with Engine(flowstate_url) as engine:
        with pytest.raises(
            StoreError, match=r"data 'd' of State 's' is no UTF-8 text: mark it, set_data\(..., binary=True\)"
        ):
            engine.do(commit(StoreData(ctx, "d"), park(ctx)))
        ctx.set_data("d", b"\xff\xfe", binary=True)
        engine.do(commit(StoreData(ctx, "d"), park(ctx)))


def test_the_command_line_tells_the_same(flowstate_url, capsys):
    assert run(["list", "--store", flowstate_url]) != 0
    assert "is a flowstate server" in capsys.readouterr().err
