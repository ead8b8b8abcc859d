"""Transitions with reasons, fingerprint, check and diagrams."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from datetime import timedelta
from typing import Any

import pytest

from stepflow.errors import DefinitionError
from stepflow.model.retry import RetryPolicy
from stepflow.steps import Steps, kinds, named
from stepflow.steps.check import check
from stepflow.steps.diagram import diagram
from stepflow.steps.flow import StepFlow
from stepflow.steps.introspect import Edge
from stepflow.steps.kinds.base import Node, Scope
from stepflow.steps.kinds.do import Do
from stepflow.steps.kinds.sequence import Child, Sequence
from stepflow.steps.return_value import step_check
from stepflow.steps.signature import STEP
from stepflow.steps.table import Table, compile_table
from stepflow.steps.values import CallTransition, Fn, Shape, StaticTransition, Target


def nothing() -> None:
    pass


def yes() -> bool:
    return True


def as_text(edges: tuple[Edge, ...]) -> list[str]:
    return [
        f"{e.source} {'!' if e.exclusive else '-'} {' | '.join(f'{d.position} ({d.reason})' for d in e.destinations)}"
        for e in edges
    ]


def every_kind() -> Steps[Any]:
    one = Steps().do("f", nothing)
    return (
        named("R")
        .do("do", nothing)
        .wait_for("w", yes, every=5, timeout=timedelta(hours=1))
        .wait_event("e", "ev", int, lambda payload: None)
        .steps("g", one)
        .case("c", yes, one)
        .loop_until("l", yes, one)
        .retry("r", lambda error: True, one)
    )


def test_the_transitions_of_every_kind_in_order():
    """U12."""
    assert as_text(every_kind().compile().transitions) == [
        "start:R - start:R/do (static)",
        "start:R/do ! completed:R/do (completed)",
        "completed:R/do - start:R/wWaitFor (static)",
        "start:R/wWaitFor ! start:R/wWaitFor (WaitFor condition is not met) | completed:R/wWaitFor (WaitFor condition is met)",
        "completed:R/wWaitFor - start:R/eWaitEvent (static)",
        "start:R/eWaitEvent ! completed:R/eWaitEvent (event received)",
        "completed:R/eWaitEvent - start:R/g (static)",
        "start:R/g - start:R/g/f (static)",
        "start:R/g/f ! completed:R/g/f (completed)",
        "completed:R/g/f - completed:R/g (static)",
        "completed:R/g - start:R/cCase (static)",
        "start:R/cCase ! start:R/cCase/steps (Case condition is met) | completed:R/cCase (Case condition is not met)",
        "completed:R/cCase/steps - completed:R/cCase (static)",
        "start:R/cCase/steps - start:R/cCase/steps/f (static)",
        "start:R/cCase/steps/f ! completed:R/cCase/steps/f (completed)",
        "completed:R/cCase/steps/f - completed:R/cCase/steps (static)",
        "completed:R/cCase - start:R/lLoopUntil (static)",
        "start:R/lLoopUntil - start:R/lLoopUntil/steps (static)",
        (
            "completed:R/lLoopUntil/steps ! start:R/lLoopUntil/steps (LoopUntil condition is not met)"
            " | completed:R/lLoopUntil (LoopUntil condition is met)"
        ),
        "start:R/lLoopUntil/steps - start:R/lLoopUntil/steps/f (static)",
        "start:R/lLoopUntil/steps/f ! completed:R/lLoopUntil/steps/f (completed)",
        "completed:R/lLoopUntil/steps/f - completed:R/lLoopUntil/steps (static)",
        "completed:R/lLoopUntil - start:R/rRetry (static)",
        "start:R/rRetry - start:R/rRetry/f (static) | start:R/rRetry (retry)",
        "start:R/rRetry/f ! completed:R/rRetry/f (completed) | start:R/rRetry (retry)",
        "completed:R/rRetry/f - completed:R/rRetry (static) | start:R/rRetry (retry)",
        "completed:R/rRetry - completed:R (static)",
    ]


def test_nested_retries_are_listed_inner_first():
    inner = Steps().retry("in", RetryPolicy(), Steps().do("f", nothing))
    edges = named("R").retry("out", lambda error: True, inner).compile().transitions
    (call,) = [edge for edge in edges if edge.exclusive]
    assert [way.position for way in call.destinations if way.reason == "retry"] == [
        "start:R/outRetry/inRetry",
        "start:R/outRetry",
    ]


def test_the_fingerprint_sees_what_changes_positions():
    first = every_kind().compile()
    assert len(first.fingerprint) == 64
    assert every_kind().compile().fingerprint == first.fingerprint
    base = named("R").do("a", nothing).do("b", nothing)
    variants: list[Steps[Any]] = [
        base,
        named("R").do("b", nothing).do("a", nothing),
        named("S").do("a", nothing).do("b", nothing),
        named("R").do("a", nothing).wait_for("b", yes),
        named("R").do("a", nothing),
        named("R").retry("r", yes_error, Steps().do("a", nothing)),
        named("R").steps("rRetry", Steps().do("a", nothing)),
        named("R").wait_event("a", "one", int, lambda p: None),
        named("R").wait_event("a", "two", int, lambda p: None),
    ]
    assert len({chain.compile().fingerprint for chain in variants}) == len(variants)
    assert named("R").do("a", print).do("b", yes).compile().fingerprint == base.compile().fingerprint


def yes_error(error: Exception) -> bool:
    return True


def test_check_lists_steps_that_need_an_engine():
    assert [str(found) for found in every_kind().compile().check()] == [
        "R/wWaitFor: timeout=3600 s: plain apply never times out (engine-only)",
        "R/eWaitEvent: waits for the event 'ev': plain apply raises NeedsEngine (engine-only)",
    ]


def row(source: str, target: str) -> CallTransition:
    scope = source.partition(":")[2]
    return CallTransition(
        source, scope, Do, Fn(nothing, nothing, False, False), step_check(scope), (Target(target, "completed"),)
    )


def test_check_finds_unreachable_steps_and_dead_ends():
    rows = [row("start:R", "completed:R"), row("start:R/a", "completed:R"), row("start:R/b", "start:R/b")]
    assert [(f.kind, f.path) for f in check(Table("R", rows))] == [
        ("unreachable", "R/a"),
        ("unreachable", "R/b"),
        ("dead-end", "R/b"),
    ]


@pytest.mark.parametrize(
    ("transitions", "says"),
    [
        ([row("start:R", "completed:R"), row("start:R", "completed:R")], "duplicate transition source start:R"),
        ([StaticTransition("start:R", "start:R/a")], "start:R/a has no transition"),
        (
            [
                StaticTransition("start:R", "start:R/a"),
                StaticTransition("start:R/a", "start:R"),
            ],
            "start:R is part of a cycle of static transitions",
        ),
    ],
)
def test_a_table_that_cannot_work_is_refused(transitions, says):
    """U5: two transitions with one source, among others."""
    with pytest.raises(DefinitionError, match=says):
        Table("R", transitions)


def test_each_kind_is_one_file_named_after_its_verb_and_a_method_of_steps():
    for module in pkgutil.iter_modules(kinds.__path__):
        if module.name != "base":
            members = vars(importlib.import_module(f"{kinds.__name__}.{module.name}")).values()
            (kind,) = [m for m in members if isinstance(m, type) and issubclass(m, Node) and not inspect.isabstract(m)]
            assert module.name == {"steps": "sequence"}.get(kind.verb, kind.verb)
            assert callable(getattr(Steps, kind.verb))


def test_a_new_kind_brings_its_suffix_and_its_drawing():
    class Twirl(Do):
        verb, suffix, label, shape = "twirl", "Twirl", "twirl ", Shape("egg", ("((", "))"))

        def row(self, at: Scope):
            fn = at.function(self.fn, STEP)
            target = Target(at.completed, "completed")
            return CallTransition(at.start, at.path, Twirl, fn, step_check(at.path), (target,), at.retry_scope)

    table = compile_table("x", Sequence((Child("a", Twirl(nothing)),)))
    assert diagram(table, "text", None) == "  x\n    twirl a\n  completed\n"
    assert '(("a"))' in diagram(table, "mermaid", None)
    assert 'label="a", shape=egg' in diagram(table, "dot", None)


def test_the_compiler_checks_custom_nodes_too():
    class Twice(Node):
        def expand(self, at: Scope):
            yield from Do(nothing).expand(at)
            yield from Do(nothing).expand(at)

    with pytest.raises(DefinitionError, match="duplicate transition source start:x"):
        compile_table("x", Twice())


TEXT = """\
  R
    do
    wait for w  (every 5 s, at most 1 h)
    wait for e  (event ev)
    g
      f
    case c
>     f
    loop until l
      f
    retry r  (while its handler returns True)
      f
  completed
"""


def test_the_text_shows_the_position():
    flow = every_kind().compile()
    assert flow.diagram("text", state=["start:R/cCase/steps"]) == TEXT
    assert flow.diagram("text") == TEXT.replace(">", " ")
    assert flow.diagram("text", state=["completed:R"]).splitlines()[-1] == "> completed"
    assert flow.diagram("text", state=[]).splitlines()[1] == ">   do"
    assert flow.diagram("text", state=["completed:R/cCase"]).splitlines()[9] == ">     f"


MERMAID = """\
flowchart TD
  begin("R")
  subgraph gs1["r (at most 2 attempts, attempt 2)"]
    s2["a #quot;b#quot; #lt;#35;1#gt;"]
    subgraph gs3["ok"]
      s3{"ok"}
      s5{{"w (every 1 s)"}}
    end
  end
  finish("completed")
  begin --> s2
  s2 --> s3
  s3 -->|"met"| s5
  s3 -->|"not met"| finish
  s5 -->|"not met"| s5
  s5 -->|"met"| finish
  s5 -.->|"retry r"| s2
  classDef current fill:#ffe082,stroke:#e65100,stroke-width:3px
  class s3 current
"""
DOT = """\
digraph "R" {
  begin [label="R", shape=oval];
  subgraph cluster_s1 {
    label="r (at most 2 attempts, attempt 2)";
    s2 [label="a \\"b\\" <#1>", shape=box];
    subgraph cluster_s3 {
      label="ok";
      s3 [label="ok", shape=diamond, style="filled,bold", fillcolor="#ffe082", color="#e65100"];
      s5 [label="w (every 1 s)", shape=hexagon];
    }
  }
  finish [label="completed", shape=oval];
  begin -> s2;
  s2 -> s3;
  s3 -> s5 [label="met"];
  s3 -> finish [label="not met"];
  s5 -> s5 [label="not met"];
  s5 -> finish [label="met"];
  s5 -> s2 [label="retry r", style=dotted];
}
"""


@pytest.mark.parametrize(("form", "drawing"), [("mermaid", MERMAID), ("dot", DOT)])
def test_mermaid_and_dot(form, drawing):
    body = Steps().do('a "b" <#1>', nothing).case("ok", yes, Steps().wait_for("w", yes))
    flow = named("R").retry("r", RetryPolicy(max_attempts=2), body).compile()
    assert flow.diagram(form, state=['completed:R/rRetry/a "b" <#1>', "attempt:2:R/rRetry"]) == drawing


def test_mermaid_is_the_default_and_the_end_can_be_current():
    flow = named("R").do("a", nothing).compile()
    assert flow.diagram() == flow.diagram("mermaid")
    assert "class finish current" in flow.diagram(state=["completed:R"])
    assert "fillcolor" in flow.diagram("dot", state=["completed:R"]).splitlines()[3]


@pytest.mark.parametrize(
    ("form", "shown"), [("text", "a`\ufffd[0m b"), ("mermaid", "a#96;\ufffd[0m b"), ("dot", "a`\ufffd[0m b")]
)
def test_names_are_drawn_on_one_line_without_control_characters(form, shown):
    drawn = named("R").do("a`\x1b[0m\nb", nothing).compile().diagram(form)
    assert shown in drawn


def test_a_step_called_steps_keeps_its_box():
    inner = Steps().do("steps", nothing).steps("x", Steps().do("steps", nothing))
    drawn = named("steps").case("steps", yes, inner).compile().diagram("text")
    assert [line.strip() for line in drawn.splitlines()] == ["steps", "case steps", "steps", "x", "steps", "completed"]


def test_an_unknown_format():
    with pytest.raises(ValueError, match="format='svg': give one of 'mermaid', 'dot', 'text'"):
        named("R").compile().diagram("svg")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.5, "0.5 s"), (1, "1 s"), (60, "1 min"), (90, "90 s"), (7200, "2 h"), (259200, "3 d")]
)
def test_durations_in_words(seconds, words):
    drawn = named("R").wait_for("w", yes, every=seconds).compile().diagram("text")
    assert f"(every {words})" in drawn


async def awaited() -> None:
    pass


def typed(exchange: dict[str, int]) -> None:
    pass


@pytest.mark.parametrize(("step", "inline"), [(nothing, True), (awaited, False), (typed, True)])
def test_steps_tell_of_themselves_before_their_transitions_are_made(step, inline):
    def flow() -> StepFlow[Any]:
        inner = Steps().do("a", nothing).do("b", step)
        return (
            named("x").do("first", nothing).retry("r", lambda error: True, inner).wait_for("w", lambda: True).compile()
        )

    early, late = flow(), flow()
    assert len(late.transitions) == 11  # made by now
    assert (early.fingerprint, early.inline, repr(early)) == (late.fingerprint, late.inline, repr(late))
    assert early.inline is inline
    assert early.definition == late.definition


def test_a_step_is_made_when_a_run_comes_to_it(monkeypatch):
    made = []
    row = Do.row
    monkeypatch.setattr(Do, "row", lambda self, at: made.append(at.path) or row(self, at))
    flow = named("x").do("a", nothing).do("b", nothing).do("c", nothing).compile()
    assert flow.apply(["completed:x/a"], None) == ["completed:x/b"]
    assert (flow.inline, made) == (True, ["x/b"])
