"""A generator as a step would run nothing: it is refused when the chain is compiled, however it is wrapped."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from stepflow.errors import DefinitionError
from stepflow.model.function import flow
from stepflow.steps import Steps, named
from stepflow.steps.return_value import BadReturn

sent: list[str] = []


def mail(address: str) -> Iterator[str]:
    sent.append(address)
    yield address


async def amail(address: str) -> AsyncIterator[str]:
    sent.append(address)
    yield address


def traced(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return fn(*args)

    return wrapper


class Mailer:
    def mail(self, address: str) -> Iterator[str]:
        yield address

    def __call__(self, address: str) -> Iterator[str]:
        yield address

    @traced
    def traced(self, address: str) -> Iterator[str]:
        yield address


def two(address: str, more: int) -> Iterator[str]:
    yield address


WRAPPED = {
    "plain": mail,
    "async": amail,
    "decorated": traced(mail),
    "twice": traced(traced(mail)),
    "decorated async": traced(amail),
    "partial": functools.partial(two, more=1),
    "partial of decorated": functools.partial(traced(mail)),
    "method": Mailer().mail,
    "decorated method": Mailer().traced,
    "callable object": Mailer(),
    "partial of an object": functools.partial(Mailer()),
    "context manager": contextlib.contextmanager(mail),
}


@pytest.mark.parametrize("step", WRAPPED.values(), ids=WRAPPED)
def test_a_generator_is_refused_by_compile(step: Any) -> None:
    chains = [
        named("f", str).do("mail", step),
        named("f", str).wait_for("mail", step),
        named("f", str).case("mail", step, Steps(str)),
        named("f", str).loop_until("mail", step, Steps(str).do("a", print)),
    ]
    for chain in chains:
        with pytest.raises(DefinitionError, match=r"is a generator, so calling it.* runs nothing: remove the yield"):
            chain.compile()
    with pytest.raises(DefinitionError, match="is a generator"):
        flow("f")(step)


LAZY = {
    "generator": lambda address: (None, mail(address))[1],
    "async generator": lambda address: (None, amail(address))[1],
    "expression": lambda address: (sent.append(one) for one in address),
    "map": lambda address: map(sent.append, address),
    "filter": lambda address: filter(sent.append, address),
}


@pytest.mark.parametrize("step", LAZY.values(), ids=LAZY)
def test_a_step_that_returns_something_of_which_nothing_has_run_fails(step: Any) -> None:
    sent.clear()
    for chain in (named("f", str).do("mail", step), named("f", str).wait_for("mail", step)):
        with pytest.raises(BadReturn, match="of which nothing has run: go through it with a loop inside"):
            chain.compile().apply([], "ada@example.org")
    assert sent == []


def test_a_function_that_goes_through_a_generator_is_a_step() -> None:
    sent.clear()
    named("f", str).do("mail", lambda address: [*mail(address)]).compile().apply([], "ada@example.org")
    assert sent == ["ada@example.org"]
