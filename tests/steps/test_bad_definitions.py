"""Mistakes in a definition: each has a message with its path and the remedy, and all are reported together."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any, NewType

import pytest

from stepflow.errors import DefinitionError
from stepflow.model.retry import RetryPolicy
from stepflow.steps import Steps, named


def nothing() -> None:
    pass


def yes() -> bool:
    return True


def problems(chain: Steps[Any], **options: Any) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        chain.compile(**options)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_all_mistakes_are_reported_together_in_order_with_their_paths():
    inner = Steps().do("", nothing).do("a:b", nothing).do("dup", nothing).do("dup", nothing)
    chain = named("order").do("pay", 3).steps("g", inner).wait_for("w", yes, every=-1).case("c", None, None)  # type: ignore[arg-type]
    found = problems(chain, concurrency=0)
    assert [text.split(":")[0] for text in found] == [
        "order/pay",
        "order/g",
        "order/g/a",
        "order/g/dup",
        "order/wWaitFor",
        "order/cCase",
        "order/cCase/steps",
        "order",
    ]
    assert found[0] == "order/pay: 3 is not callable: give a function"
    assert found[1] == "order/g: a step has the name '': give it a non-empty name"
    assert found[2] == "order/g/a:b: name 'a:b' has a ':': positions use it, choose another character"
    assert found[3].startswith("order/g/dup: this name is used twice: names in a group must be unique")
    assert found[4] == "order/wWaitFor: every=-1: give more than 0 seconds, finite"
    assert found[5] == "order/cCase: None is not callable: give a function"
    assert found[6] == "order/cCase/steps: None is not a chain of steps: give e.g. Steps().do('name', function)"
    assert found[7] == "order: concurrency=0: give a whole number of runs, at least 1, or None"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("a:b", "has a ':'"),
        (None, "is not a text"),
        (7, "is not a text"),
        (b"a", "is not a text"),
        ("\ud800", "half of a surrogate pair"),
    ],
)
def test_bad_root_names(name, says):
    assert says in problems(named(name))[0]


@pytest.mark.parametrize("name", ["", " ", "\t", "a:b", "a/b", "/", None, 7, "\ud800"])
def test_bad_step_names(name):
    (found,) = problems(named("x").do(name, nothing))
    assert found.startswith("x")


@pytest.mark.parametrize("name", ["deploy/v1", "a b", "ä", "日本", "-", "a.b", "'"])
def test_good_names(name):
    inner = name.replace("/", "-")
    flow = named(name).do(inner, nothing).compile()
    assert flow.apply([]) == [f"completed:{name}/{inner}"]


@pytest.mark.parametrize(
    "chain",
    [
        named("x").do("a", nothing).do("a", nothing),
        named("x").do("a", nothing).steps("a", Steps()),
        named("x").do("aWaitFor", nothing).wait_for("a", yes),
        named("x").do("aWaitEvent", nothing).wait_event("a", "e", int, lambda p: None),
        named("x").steps("aCase", Steps()).case("a", yes, Steps()),
        named("x").do("aRetry", nothing).retry("a", lambda e: True, Steps()),
        named("x").loop_until("a", yes, Steps()).do("aLoopUntil", nothing),
    ],
)
def test_suffix_clashes(chain):
    """U11."""
    (found,) = problems(chain)
    assert "is used twice" in found
    assert "the suffix counts" in found


def test_kinds_with_one_name_do_not_clash():
    chain = named("x").do("a", nothing).wait_for("a", yes).wait_event("a", "e", int, lambda p: None)
    chain = chain.case("a", yes, Steps()).retry("a", lambda e: True, Steps()).loop_until("a", yes, Steps())
    assert len(chain.compile().transitions) == 17


async def coroutine() -> None:
    pass


def generator() -> Any:
    yield 1


async def agenerator() -> Any:
    yield 1


class Unreadable:
    __signature__ = "broken"

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "None is not callable: give a function"),
        ("pay", "'pay' is not callable"),
        (generator, "generator is a generator, so calling it runs nothing: remove the yield"),
        (agenerator, "is a generator"),
        (lambda a, b: None, r"(a, b) has 2 required parameters; a step is fn(exchange) or fn(): bind the rest"),
        (lambda a, *b, c: None, "requires keyword c: give it a default or bind it"),
        (lambda *, c: None, "requires keyword c"),
        (functools.partial(lambda a, b, c: None, 1), "has 2 required parameters"),
        (Unreadable(), "cannot be read: wrap it in a lambda or def"),
    ],
)
def test_what_a_step_may_not_be(given, says):
    (found,) = problems(named("x").do("a", given))
    assert found.startswith("x/a: ")
    assert says in found


def test_a_function_that_was_called_by_mistake():
    (found,) = problems(named("x").do("a", coroutine()))  # type: ignore[arg-type]
    assert found == "x/a: coroutine() was called here: give the function itself, without ()"


@pytest.mark.parametrize("given", [nothing, lambda: True, lambda a, b, c: True, lambda e=None: True])
def test_what_a_handler_may_not_be(given):
    (found,) = problems(named("x").retry("r", given, Steps().do("a", nothing)))
    assert found.startswith("x/rRetry: ")
    assert "an error handler is fn(exchange, error) or fn(error)" in found


@pytest.mark.parametrize("given", [nothing, lambda a, b, c: None])
def test_what_the_function_of_an_event_may_not_be(given):
    (found,) = problems(named("x").wait_event("w", "e", int, given))
    assert "an event's function is fn(exchange, payload) or fn(payload)" in found


@pytest.mark.parametrize("event", ["", " ", None, 3])
def test_bad_event_names(event):
    (found,) = problems(named("x").wait_event("w", event, int, lambda p: None))
    assert found == f"x/wWaitEvent: event={event!r}: give the event's name, a non-empty text"


def test_a_latch_must_be_a_bool():
    assert "latch='yes'" in problems(named("x").wait_event("w", "e", int, lambda p: None, latch="yes"))[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [nothing, None, 3, "steps", [], RetryPolicy()])
@pytest.mark.parametrize("kind", ["steps", "case", "retry", "loop_until"])
def test_other_values_than_a_fragment_are_refused(kind, given):
    middle = {"steps": [], "retry": [RetryPolicy()]}.get(kind, [yes])
    (found,) = problems(getattr(named("x"), kind)("g", *middle, given))
    assert "is not a chain of steps: give e.g. Steps()" in found


@pytest.mark.parametrize("value", [0, -1, "1s", True, float("nan"), float("inf"), timedelta(0), timedelta(-1), [1]])
def test_bad_durations(value):
    for chain, options, name in (
        (named("x").wait_for("w", yes, timeout=value), {}, "x/wWaitFor: timeout="),
        (named("x").wait_event("w", "e", int, lambda p: None, timeout=value), {}, "x/wWaitEvent: timeout="),
        (named("x"), {"hung_after": value}, "x: hung_after="),
    ):
        (found,) = problems(chain, **options)
        assert found.startswith(name)
        assert "seconds" in found


@pytest.mark.parametrize("value", [-1, "1s", None, float("nan"), 0, timedelta(0), 0.0009, timedelta(microseconds=1)])
def test_bad_intervals(value):
    (found,) = problems(named("x").wait_for("w", yes, every=value))
    assert found.startswith("x/wWaitFor: every=")


def test_good_durations():
    chain = named("x").wait_for("a", yes, every=0.001).wait_for("b", yes, every=timedelta(minutes=1), timeout=0.5)
    flow = chain.compile(hung_after=timedelta(minutes=2), concurrency=3, max_crashes=1, retry=RetryPolicy())
    assert flow.wait_s(["start:x/bWaitFor"]) == 60
    assert (flow.options.hung_after_s, flow.options.concurrency, flow.options.max_crashes) == (120, 3, 1)
    assert flow.options.retry == RetryPolicy()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"concurrency": 0}, "concurrency=0"),
        ({"concurrency": "3"}, "concurrency='3'"),
        ({"concurrency": True}, "concurrency=True"),
        ({"concurrency": 1.5}, "concurrency=1.5"),
        ({"max_crashes": 0}, "max_crashes=0"),
        ({"max_crashes": None}, "max_crashes=None"),
        ({"retry": 3}, "retry=3: give a RetryPolicy"),
        ({"retry": RetryPolicy}, "give a RetryPolicy"),
        ({"upgrade": {}}, "upgrade={} is not callable"),
        ({"upgrade": coroutine}, "is async or a generator: give a function from dict to dict"),
        ({"upgrade": nothing}, "does not take one argument: give a function from dict to dict"),
        ({"upgrade": lambda raw, version: raw}, "does not take one argument"),
    ],
)
def test_bad_options(options, says):
    (found,) = problems(named("x"), **options)
    assert found.startswith("x: ")
    assert says in found


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("deploy", "'deploy' is a text: give the type itself, as in named('x', Order)"),
        ({"a": 1}, "{'a': 1} is an object: give its type, as in named('x', Order)"),
        (3, "3 is an object: give its type"),
        (RetryPolicy(), "RetryPolicy(max_attempts=3"),
    ],
)
def test_an_object_where_the_exchange_s_type_belongs(given, says):
    assert problems(named("x", given))[0].startswith(f"x: {says}")


@pytest.mark.parametrize("given", ["int", 3, {}])
def test_an_object_where_the_payload_s_type_belongs(given):
    (found,) = problems(named("x").wait_event("w", "e", given, lambda payload: None))
    assert found.startswith("x/wWaitEvent: type=")
    assert "type" in found.split("give ")[1]


class Plain:
    """Neither a dataclass nor an attrs class."""


@pytest.mark.parametrize("given", [Plain, list[Plain]])
def test_a_payload_that_could_not_be_restored(given):
    (found,) = problems(named("x").wait_event("w", "e", given, lambda payload: None))
    assert "cannot be the type of a payload: " in found
    assert "Plain cannot be restored from JSON: make it one of dataclasses, attrs classes" in found


@pytest.mark.parametrize(
    "type_", [dict[str, int], list[int], int | None, Any, None, type(None), NewType("Sku", str), Plain]
)
def test_every_form_of_a_type_is_a_type(type_):
    named("x", type_).do("a", nothing).compile()


def test_a_chain_or_a_flow_where_a_function_belongs():
    chain = Steps().do("a", nothing)
    assert problems(named("x").do("a", chain)) == [f"x/a: {chain!r} is a chain: use .steps(name, chain)"]  # type: ignore[arg-type]
    (found,) = problems(named("x").case("c", chain.compile(), chain))  # type: ignore[arg-type]
    assert found.endswith("is compiled: give the chain that it was made of to .steps(name, chain)")
    (found,) = problems(named("x").steps("g", chain.compile()))  # type: ignore[arg-type]
    assert found.endswith("is not a chain of steps: give the chain before compile()")


def test_nothing_is_checked_before_compile():
    assert repr(named("x").do("", None)) == "<Steps x: 1 children>"  # type: ignore[arg-type]


def test_one_mistake_in_a_fragment_used_twice_is_reported_at_both_paths():
    fragment = Steps().do("a", None)  # type: ignore[arg-type]
    found = problems(named("x").steps("one", fragment).steps("two", fragment))
    assert [text.split(":")[0] for text in found] == ["x/one/a", "x/two/a"]


def test_a_retry_that_is_a_number_is_told_of_the_policy():
    with pytest.raises(DefinitionError, match="order/bankRetry: 3 is not callable: give a RetryPolicy or a function"):
        named("order").retry("bank", 3, Steps().do("pay", print)).compile()  # type: ignore[arg-type]
