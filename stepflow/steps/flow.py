"""StepFlow: a compiled chain. Call `apply` in a loop of your own, or give it to an engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any, ClassVar, TypeVar, overload

from stepflow.errors import CodecError, UnknownState
from stepflow.model.codec import Codec, PlainClass, UnresolvedName
from stepflow.model.definition import code_text, stored_fields
from stepflow.model.flow import Flow, FlowOptions, Move
from stepflow.model.json_schema import schemas_text
from stepflow.model.state import DEADLINE, PAYLOADS, WAITING, Transition
from stepflow.steps.check import Finding, check
from stepflow.steps.diagram import Format, diagram
from stepflow.steps.diagram.picture import Picture
from stepflow.steps.exchange import exchange_type
from stepflow.steps.introspect import Edge, edges, fingerprint
from stepflow.steps.kinds.base import Placed
from stepflow.steps.machine import Machine
from stepflow.steps.plan import ChainPlan
from stepflow.steps.position import read_position
from stepflow.steps.replace import replaced
from stepflow.steps.table import Table
from stepflow.steps.values import CallTransition, StaticTransition

E = TypeVar("E")
_REMEDY = "change the type, or map the stored form to it in compile(upgrade=...)"


class StepFlow(Flow[E, E]):
    """A chain of steps, compiled by `Steps.compile`; immutable, so share it between threads and runs.

    `name` is the root name and the first part of all positions.
    """

    kind: ClassVar[str] = "steps"
    waits: ClassVar[bool] = True

    def __init__(self, table: Table, declared: Any, options: FlowOptions) -> None:
        self.name, self.options = table.name, options
        self._table, self._declared = table, declared
        self._machine = Machine(table)
        self._called = self._machine.called
        self._finished = [table.completed]
        made = [step for step in table.steps if isinstance(step, CallTransition)]  # the others have nothing of that
        self.transacted = tuple((row.scope, row.fn.is_async) for row in made if row.transacted)
        self.events = frozenset(row.event for row in made if row.event)
        self._waits = [row for row in made if row.event]

    def __repr__(self) -> str:
        return (
            f"<StepFlow {self.name}: {sum(not isinstance(one, StaticTransition) for one in self._table.items)} steps>"
        )

    @cached_property
    def inline(self) -> bool:  # type: ignore[override]
        """Whether no step awaits, has a time limit or gets a connection."""
        return not any(map(_needs_more, self._table.steps))

    @overload
    def apply(self: StepFlow[None], state: list[str] | None) -> list[str]: ...
    @overload
    def apply(self, state: list[str] | None, exchange: E) -> list[str]: ...
    def apply(self, state: list[str] | None, exchange: Any = None) -> list[str]:
        """Call the user function that is due at `state` and return the next position, a new list.

        `state` is the list that the last apply returned, e.g. `["completed:order/pay"]`; None and `[]` start the flow. The
        position at the end is returned unchanged. Raises the error of the function (with the step's path as a note); `state`
        stays valid, apply it again. Raises UnknownState for a position of another flow, NeedsEngine at a wait_event, and
        NeedsAwait (a StepflowError) at an async step.
        """
        try:
            # the first call at a position, and anything but a list of one position, takes the general path below
            row = self._called[state[0]] if len(state) == 1 else None  # type: ignore[index,arg-type]
        except (KeyError, TypeError):
            row = None
        if row is None:
            return [*self._machine.advance(state, exchange).state]
        try:
            value = row.call(exchange)
        except Exception as error:  # noqa: BLE001 - raised again unless a retry group retries
            return [*self._machine.after_error(row, error, exchange, ()).state]
        if value is None and row.only:
            return [row.only]
        return [row.targets[row.check(value, exchange)].position]

    @overload
    async def aapply(self: StepFlow[None], state: list[str] | None) -> list[str]: ...
    @overload
    async def aapply(self, state: list[str] | None, exchange: E) -> list[str]: ...
    async def aapply(self, state: list[str] | None, exchange: Any = None) -> list[str]:
        """`apply` for chains with async functions; sync functions are called on the event loop."""
        return [*(await self._machine.aadvance(state, exchange)).state]

    def is_completed(self, state: list[str] | None) -> bool:
        """True only for `["completed:<name>"]`."""
        return isinstance(state, (list, tuple)) and [*state] == self._finished

    def wait_s(self, state: list[str] | None) -> float:
        """Seconds that an external loop should wait before it applies `state`: the poll interval, the back-off, or 0."""
        return self._machine.wait_s(read_position(self._table, state))

    @cached_property
    def transitions(self) -> tuple[Edge, ...]:
        """Every transition in the order of definition: its source, and its destinations with reasons."""
        return edges(self._table)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all transitions: equal if and only if the positions and their order are the same."""
        return fingerprint(self._table)

    def diagram(self, format: Format = "mermaid", state: list[str] | None = None) -> str:  # noqa: A002
        """The chain as Mermaid, Graphviz DOT or text; the step that is due at `state` is highlighted if one is given."""
        return diagram(self._table, format, None if state is None else read_position(self._table, state))

    def picture(self, state: list[str] | None = None) -> Picture:
        """What a diagram shows, for those who draw it themselves; raises UnknownState like `diagram`."""
        return Picture.of(self._table, None if state is None else read_position(self._table, state))

    def replace(self, step: str, fn: Callable[..., object]) -> StepFlow[E]:
        """This flow with another function in one step, for tests: `order_flow.replace("charge", fake_charge)`.

        `step` is the name that the chain gave it, or its path, `"payment/charge"`, where the name occurs twice. The positions,
        the exchange and the options stay; this flow does not change. Raises DefinitionError for a step that is not there, and
        for a function that the step cannot call.
        """
        other: StepFlow[E] = StepFlow(replaced(self._table, step, fn), self._declared, self.options)
        other.__dict__["_exchange"] = self._exchange  # not what the annotations of the new function say
        return other

    def check(self) -> list[Finding]:
        """Findings about the definition: steps that need an engine, unreachable steps and dead ends; empty if there are none."""
        return check(self._table)

    @cached_property
    def _exchange(self) -> Any:
        return exchange_type(self._table, self._declared)

    def refuse_exchange(self) -> None:
        """Raises CodecError if the exchange has a type inside that cannot be stored; `compile` calls it.

        Two things pass, and are refused when a run is started: a plain class, which has no fields, because `apply` takes any
        object; and an annotation with the name of a class that the module may define later.
        """
        with suppress(PlainClass, UnresolvedName):
            self.codec  # noqa: B018 - it is made here

    @cached_property
    def codec(self) -> Codec[Any]:  # type: ignore[override]  # made on first use: plain apply never needs it
        """Reads and writes the exchange. Raises CodecError if the type cannot be stored."""
        hint = "" if self._declared is not None else f'name the type of the exchange, e.g. named("{self.name}", Order)'
        return Codec(self._exchange, upgrade=self.options.upgrade, hint=hint, remedy=_REMEDY)

    @cached_property
    def definition(self) -> str:  # type: ignore[override]
        """SHA-256 (hex) of the fingerprint, of the fields that the stored exchange has, and of `upgrade`."""
        parts = [self.fingerprint, code_text(self.options.upgrade), *stored_fields(self._exchange)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @cached_property
    def _plan(self) -> ChainPlan:
        return ChainPlan(self._table)

    def first(self) -> Move:
        """The Move of a new run: to the position `["start:<name>"]`."""
        return self._plan.first

    def resume(self, transition: Transition) -> Move:
        """The Move that leads to a stored transition; one without a position starts the flow. Raises UnknownState."""
        return self._plan.at(transition)

    def step_path(self, name: str) -> str:
        """The path, below the flow, of the step of this name. Raises NotFound, or StepflowError if several may be meant."""
        return self._table.path_of(name)

    def waits_at(self, transition: Transition) -> bool:
        """Whether a run that waits at this transition waits there as this definition says, for such payloads if it has stored them; False also at an unknown position."""
        notes = transition.annotations
        waiting = notes.get(WAITING, "")
        if waiting in ("", "delay"):
            return True
        try:
            (task,) = self._plan.at(transition).tasks
        except (UnknownState, ValueError):
            return False
        polled = f"event:{task.event}" if task.event else "poll" if task.polls else ""
        if PAYLOADS in notes and (
            task.payload is None or schemas_text({task.event: task.payload.type}, notes[PAYLOADS]) != notes[PAYLOADS]
        ):
            return False
        return waiting == polled and (DEADLINE in notes) == (task.timeout_s is not None)

    def payload_type(self, event: str) -> Any:
        """The type of the payload that the first wait for an event of this name takes; Any if there is none."""
        return next((row.payload.type for row in self._waits if row.event == event), Any)

    def event_problem(self, name: str, payload: str) -> str:
        """Why no wait of this flow takes an event of this name with this payload (JSON text); empty if one does."""
        problem = ""
        if name not in self.events:
            others = (
                f"it waits for {', '.join(map(repr, sorted(self.events)))}" if self.events else "and for no other one"
            )
            return f"flow {self.name!r} waits for no event of this name, {others}"
        for row in self._waits:
            if row.event == name:
                try:
                    row.payload.decode(payload)
                except CodecError as error:
                    problem = f"the wait {row.scope.removesuffix(row.kind.suffix)} cannot take it: {error}"
                else:
                    return ""
        return problem


def _needs_more(step: CallTransition | Placed) -> bool:
    """Whether a step awaits, has a time limit or gets a connection."""
    return step.awaits or (isinstance(step, CallTransition) and (step.limit_s is not None or step.transacted))
