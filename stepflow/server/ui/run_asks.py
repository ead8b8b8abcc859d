"""run_asks: what can be asked for on the page of a run, and the start of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from starlette.datastructures import FormData

from stepflow.drivers.port.queries import HistoryQuery, Revision
from stepflow.engine.client.info import RunInfo, position_of
from stepflow.errors import StepflowError
from stepflow.model.blocked import UNKNOWN_OUTCOME
from stepflow.model.family import RESERVED
from stepflow.model.json_schema import json_schema
from stepflow.model.lifecycle import Status
from stepflow.model.run_timeout import LONGEST_S, SHORTEST_S
from stepflow.model.state import Transition
from stepflow.server.errors import Refusal
from stepflow.server.ui.asks import Ask, to_made_run
from stepflow.server.ui.flows import RESUME as FLOW_RESUME
from stepflow.server.ui.label_text import QUOTED, labels_of
from stepflow.server.ui.operator_view import read
from stepflow.server.ui.schema_form import NAME, FormField, fields_of, values_of, wrong_fields
from stepflow.server.ui.view import View, whole_number
from stepflow.steps import StepFlow

REVISIONS, CALLS = 50, 200  # from which a run can be forked by choosing from a list
MOST_EVENTS = 10  # that have a button of their own; the page of questions has all


async def _publish_fields(view: View) -> Sequence[FormField]:
    """The event, unless the address names it, and its payload, as the type of the flow's wait says."""
    event = view.exact("event")
    payload: Sequence[FormField] = fields_of(await _payload_schema(view, event), "payload", "payload")
    if event:
        return payload
    return (FormField(name="name", label="event", required=True, schema=NAME), *payload)


async def _payload_schema(view: View, event: str) -> Mapping[str, Any] | None:
    if not event:
        return None
    return payload_schema(view, await view.engine.get(view.exact("id")).info(), event)


def payload_schema(view: View, run: RunInfo, event: str) -> Mapping[str, Any] | None:
    """The JSON schema of the payload with which a run waits for an event: as a workflow stored it, or as the chain says; None if none is known."""
    if event in run.payload_schemas:
        schema: Mapping[str, Any] = run.payload_schemas[event]
        return schema
    flow = view.engine.flows.get(run.flow)
    return None if flow is None else json_schema(flow.payload_type(event)) or None  # of Any it is empty


def _publish_values(view: View, form: FormData, fields: Sequence[FormField]) -> Mapping[str, Any]:
    name, rest = _apart(fields, "name")
    *named, payload = values_of((*name, rest), form)
    return {"event": named[0] if named else view.exact("event"), "payload": payload}


def _apart(fields: Sequence[FormField], *names: str) -> tuple[list[list[FormField]], list[FormField]]:
    """The fields of these names, each as a group of its own, and those that together are one value."""
    return [[one] for one in fields if one.name in names], [one for one in fields if one.name not in names]


async def _fork_fields(view: View) -> Sequence[FormField]:
    """The places, and the new run's id and input."""
    hint = "JSON; left empty, the new run gets what the old one had there"
    return (
        *await _place_fields(view),
        FormField(name="new_id", label="id of the new run", hint="left empty, it gets a new one"),
        FormField(name="input", label="other input", kind="json", hint=hint),
    )


async def _place_fields(view: View) -> Sequence[FormField]:
    run_id = view.exact("id")
    query = HistoryQuery(run_id, limit=REVISIONS, last=True, exchange=False)
    found: list[Revision] = await view.engine.reader.read(query)
    places = [
        (f"rev:{state.rev}", f"revision {state.rev}: {_where(state.transition)}")
        for state in (revision.state for revision in reversed(found))
        if state.transition.status not in ("completed", "cancelled")
    ]
    journal = await read(view, "get_journal", id=run_id, limit=CALLS)
    places += [(f"step:{row.key}", f"before call {row.key}") for row in journal.rows]
    hint = "The name of a step, e.g. pay, its path or its position; goes before the choice above."
    default = f"rev:{view.query('rev')}" if view.query("rev") else ""
    return (
        FormField(name="place", label="from", kind="select", choices=[("", ""), *places], default=default),
        FormField(name="step", label="or before step", default=view.exact("step"), hint=hint),
    )


def _where(transition: Transition) -> str:
    return " ".join(position_of(transition)) or transition.status or transition.to or "parked"


def _place_values(_view: View, form: FormData, _fields: Sequence[FormField]) -> Mapping[str, Any]:
    step, (kind, _colon, place) = str(form.get("step", "")), str(form.get("place", "")).partition(":")
    if step or kind == "step":
        return {"step": step or place}
    if not place:
        raise Refusal(400, "invalid_argument", "choose a revision or a call, or name a step")
    return {"rev": whole_number("rev", place)}


def _fork_values(view: View, form: FormData, fields: Sequence[FormField]) -> Mapping[str, Any]:
    made: dict[str, Any] = dict(_place_values(view, form, fields))
    if new_id := str(form.get("new_id", "")):
        made["new_id"] = new_id
    if str(form.get("input", "")).strip():
        (made["input"],) = values_of(_apart(fields, "input")[0], form)
    return made


async def _step_field(view: View) -> FormField:
    """The step whose outcome is unknown: it is filled in already if there is one."""
    found = await view.engine.client.unresolved(view.exact("id"))
    hint = "Its name, path or position, or the key of the call."
    return FormField(
        name="step", label="step", required=True, hint=hint, schema=NAME, default=found[0] if found else ""
    )


async def _resolve_fields(view: View) -> Sequence[FormField]:
    hint = "JSON: what the call returned; of a step of a chain the exchange after it. Left empty: null, or as it was."
    return (
        await _step_field(view),
        FormField(name="value", label="value", kind="json", nullable=True, hint=hint),
    )


async def _failed_fields(view: View) -> Sequence[FormField]:
    return (
        await _step_field(view),
        FormField(name="error", label="error", required=True, hint="What the step fails with.", schema=NAME),
    )


async def _move_fields(view: View) -> Sequence[FormField]:
    info = await view.engine.get(view.exact("id")).info()
    hint = "E.g. completed:order/pay: the step behind it is done next."
    return (
        FormField(name="flow", label="flow", required=True, default=info.flow, schema=NAME),
        FormField(name="to", label="position", required=True, hint=hint, schema=NAME),
    )


def _each(_view: View, form: FormData, fields: Sequence[FormField]) -> Mapping[str, Any]:
    """The value of each field under its name."""
    values = values_of([(one,) for one in fields], form)
    return {one.name: value for one, value in zip(fields, values, strict=True)}


async def _start_fields(view: View) -> Sequence[FormField]:
    flow = view.engine.flows.get(view.exact("flow"))
    schema = None if flow is None else json_schema(flow.codec.type)
    return (
        *fields_of(schema or None, "input", "input"),
        FormField(name="id", label="id", hint="Left empty, it gets a new one. The same id and input again return the same run."),
        FormField(name="labels", label="labels", hint=f"name=value, several separated by blanks; {QUOTED}"),
        FormField(name="priority", label="priority", kind="whole", default="0", hint="Lower ones go first."),
        FormField(name="run_timeout", label="run timeout", kind="number", nullable=True, hint="Seconds after which the run fails if it has not ended; left empty, that of its flow.", schema={"minimum": SHORTEST_S, "maximum": LONGEST_S}),
    )  # fmt: skip


def _start_values(_view: View, form: FormData, fields: Sequence[FormField]) -> Mapping[str, Any]:
    own, given = _apart(fields, "id", "labels", "priority", "run_timeout")
    try:
        labels = labels_of(str(form.get("labels", "")))
    except StepflowError as error:
        raise wrong_fields(fields, {"labels": str(error)}) from None
    value, priority, run_timeout = values_of((given, *own[-2:]), form)
    made = {"input": value, "labels": labels, "priority": priority, "run_timeout": run_timeout}
    return made | ({"id": str(form["id"])} if form.get("id") else {})


def _ask(name: str, title: str, button: str, text: str, **more: Any) -> Ask:
    return Ask(name=name, title=f"{title} {{{{ given.id }}}}", button=button, text=text, **more)


CANCEL = _ask("cancel_run", "Cancel run", "Cancel the run", "It ends as cancelled: at once, or when a worker that holds it has ended its step. A workflow may undo what it did.", danger=True)  # fmt: skip
WAKE = _ask(
    "wake_run",
    "Wake run",
    "Wake it now",
    "It does not wait for its time: its next attempt, or the look at its condition, is due now.",
)
REDRIVE = _ask(
    "redrive_run",
    "Redrive run",
    "Redrive the run",
    "It goes on at the step that failed, and the failure is taken back.",
)
PAUSE = _ask("pause_run", "Pause run", "Pause the run", "No worker takes it until it is resumed; one that holds it gives it up when its present step is stored.")  # fmt: skip
RESUME = _ask("resume_run", "Resume run", "Resume the run", "Workers take it again.")
PUBLISH = _ask("publish_event", "Publish {{ view.exact('event') or 'an event' }} to run", "Publish the event", "The run takes it at its next wait for an event of this name.", fields=_publish_fields, values=_publish_values)  # fmt: skip
FORK = _ask("fork_run", "Fork run", "Start the new run", "A new run begins where this one was. It gets the exchange and the journal of that moment, no events and no data.", fields=_fork_fields, values=_fork_values, after=to_made_run)  # fmt: skip
REWIND = _ask("rewind_run", "Rewind run", "Rewind the run", "The run goes back, in a new revision. Children that it started later are cancelled; what was published is not taken back.", fields=_place_fields, values=_place_values, danger=True)  # fmt: skip
MOVE = _ask("move_run", "Move run", "Move the run", "It goes on at another position of its chain. No step is called, undone or repeated by that.", fields=_move_fields, values=_each)  # fmt: skip
RESOLVE = _ask("resolve_call", "Resolve a call of run", "It took place", "You say that a call whose outcome is unknown took place: the run goes on after it.", fields=_resolve_fields, values=_each)  # fmt: skip
FAILED = _ask("resolve_call_failed", "Resolve a call of run", "It failed", "You say that a call whose outcome is unknown failed, or did not take place.", fields=_failed_fields, values=_each)  # fmt: skip
START = Ask(
    name="start_run", title="Start a run of {{ given.flow }}", button="Start the run", given=("flow",), fields=_start_fields,
    text="It is stored at once, and taken by a worker that has registered the flow.", values=_start_values, after=to_made_run, path="/start",
    leave=lambda view: view.url("/flows"),
)  # fmt: skip
ASKS = (CANCEL, WAKE, REDRIVE, PAUSE, RESUME, PUBLISH, FORK, REWIND, MOVE, RESOLVE, FAILED, START)


Offer = tuple[Ask, str, bool, Mapping[str, str]]
"""A question, the text of the link to it, whether it fits the run as it is, and more parameters of its URL."""


@frozen
class RunButton:
    """A link to the page that asks before something is done to a run; `main`: it is what moves the run on as it is.

    Its `key` is that of the element in each update of the page, so that the focus stays.
    """

    text: str
    url: str
    key: str
    danger: bool = False
    main: bool = False


def buttons_of(view: View, info: RunInfo) -> list[RunButton]:
    """What can be done to a run as it is, if the user may: first what moves it on."""
    if not view.may("operate"):
        return []
    events = [event for event in info.awaits if not event.startswith(RESERVED)][:MOST_EVENTS]
    final, status, chain = info.status.final, info.status, isinstance(view.engine.flows.get(info.flow), StepFlow)
    unknown = info.blocked is not None and info.blocked.kind == UNKNOWN_OUTCOME
    polls = status is Status.WAITING and not info.awaits
    found = []
    if status is Status.PAUSED and not info.paused and view.may(FLOW_RESUME.page.scope):
        found.append(
            RunButton(
                f"Resume flow {info.flow}", view.url(FLOW_RESUME.page.path, flow=info.flow), FLOW_RESUME.name, main=True
            )
        )
    moving: tuple[Offer, ...] = (
        (RESOLVE, "It took place", unknown, {}),
        (FAILED, "It failed", unknown, {}),
        (REDRIVE, "Redrive", status is Status.FAILED, {}),
        (WAKE, "Retry now", (status in (Status.SLEEPING, Status.BLOCKED) and not unknown) or polls, {}),
        (RESUME, "Resume", info.paused, {}),
        *((PUBLISH, f"Publish {event}", True, {"event": event}) for event in events),
    )  # fmt: skip
    others: tuple[Offer, ...] = (
        (PUBLISH, "Publish an event", status not in (Status.COMPLETED, Status.CANCELLED), {}),
        (PAUSE, "Pause", not final and not info.paused, {}),
        (FORK, "Fork", True, {}),
        (REWIND, "Rewind", not info.owner, {}),
        (MOVE, "Move", chain and bool(info.position) and not final and not info.owner, {}),
        (CANCEL, "Cancel", not final, {}),
    )
    for asks, main in ((moving, True), (others, False)):
        found += [
            RunButton(
                text, view.url(ask.page.path, id=info.id, **more), f"{ask.name}-{number}{main:d}", ask.danger, main
            )
            for number, (ask, text, fits, more) in enumerate(asks)
            if fits
        ]
    return found
