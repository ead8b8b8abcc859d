"""script: step chains as data, with functions that follow the script and record their calls in the exchange."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

from attrs import evolve, field, frozen

from stepflow.model.retry import RetryPolicy
from stepflow.steps import Steps, named

Kind = Literal["do", "wait_for", "steps", "case", "retry", "loop_until"]
Answer = Literal["yes", "no", "raise"]
# repeated from steps/kinds on purpose: the reference interpreter does not share code with the compiler
SUFFIX = {"wait_for": "WaitFor", "case": "Case", "retry": "Retry", "loop_until": "LoopUntil"}


class Boom(Exception):
    """The error of scripted functions; its argument is the function's name."""


@frozen
class Item:
    """One step of a script.

    Its function raises Boom in its first `fails` calls. A condition returns True from call number `until` on, a `case`
    at every `until`-th call. A `retry` follows RetryPolicy(attempts) if `attempts` is not 0, else its handler uses
    `answers` in turn. `sync` is false for an async function. Calls are counted in the exchange, or in `counts` if it is
    given: then a call that raises, and a handler that refuses, leave no trace in the exchange.
    """

    kind: Kind
    name: str
    fails: int = 0
    until: int = 1
    answers: tuple[Answer, ...] = ()
    attempts: int = 0
    inner: tuple[Item, ...] = ()
    sync: bool = True
    counts: Counter[str] | None = field(default=None, eq=False, repr=False)

    @property
    def scope(self) -> str:
        """The name with the suffix that the chain appends."""
        return self.name + SUFFIX.get(self.kind, "")

    def call(self, exchange: dict[str, Any], error: Exception | None = None) -> bool | None:
        """Run the scripted function: record the call in `exchange["calls"]`, then raise or return."""
        calls: list[str] = exchange["calls"]
        label = f"{self.kind} {self.name}"
        calls.append(label)
        if self.counts is None:
            return self._answer(calls.count(label), error)
        self.counts[label] += 1
        answer = kept = None
        try:
            answer = self._answer(self.counts[label], error)
            kept = error is None or answer
        finally:
            if not kept:
                calls.pop()
        return answer

    def _answer(self, number: int, error: Exception | None) -> bool | None:
        """The result of call `number`, from 1."""
        if error is not None:
            answer = self.answers[(number - 1) % len(self.answers)]
            if answer == "raise":
                raise Boom(f"handler {self.name}") from error
            return answer == "yes"
        if number <= self.fails:
            raise Boom(self.name)
        number -= self.fails
        return {"do": None, "case": number % self.until == 0}.get(self.kind, number >= self.until)

    def function(self) -> Callable[..., Any]:
        """The function for the chain."""
        if self.sync:
            return self.handler if self.kind == "retry" else self.step
        return self.ahandler if self.kind == "retry" else self.astep

    def step(self, exchange: dict[str, Any]) -> bool | None:
        """The scripted step or condition."""
        return self.call(exchange)

    def handler(self, exchange: dict[str, Any], error: Exception) -> bool | None:
        """The scripted error handler."""
        return self.call(exchange, error)

    async def astep(self, exchange: dict[str, Any]) -> bool | None:
        """The async form of `step`."""
        return self.call(exchange)

    async def ahandler(self, exchange: dict[str, Any], error: Exception) -> bool | None:
        """The async form of `handler`."""
        return self.call(exchange, error)


Script = tuple[Item, ...]


def counted(script: Script, counts: Counter[str]) -> Script:
    """The same script; its calls are counted in `counts`."""
    return tuple(evolve(item, inner=counted(item.inner, counts), counts=counts) for item in script)


def chain_of(script: Script, name: str = "script") -> Steps[Any]:
    """The chain that a script describes; give its runs the exchange `{"calls": []}`."""
    chain: Steps[Any] = named(name)
    for item in script:
        if item.kind in ("do", "wait_for"):
            chain = getattr(chain, item.kind)(item.name, item.function())
        elif item.kind == "steps":
            chain = chain.steps(item.name, chain_of(item.inner))
        else:
            asked = RetryPolicy(item.attempts, delay=0) if item.attempts else item.function()
            chain = getattr(chain, item.kind)(item.name, asked, chain_of(item.inner))
    return chain
