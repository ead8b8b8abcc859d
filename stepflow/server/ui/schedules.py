"""The pages of schedules: all of them, and one with its actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.datastructures import FormData

from stepflow.server.errors import Refusal
from stepflow.server.operator_api.api import BY_NAME
from stepflow.server.ui.asks import Ask
from stepflow.server.ui.operator_view import read
from stepflow.server.ui.run_asks import RunButton
from stepflow.server.ui.schema_form import TIME, FormField, values_of
from stepflow.server.ui.view import UiPage, View

RUNS = 50


async def show_all(view: View) -> Mapping[str, Any]:
    """All schedules."""
    return {"schedules": (await read(view, "list_schedules")).schedules}


async def show_one(view: View) -> Mapping[str, Any]:
    """One schedule, and what can be done to it."""
    schedule_id = view.exact("id")
    if not schedule_id:
        raise Refusal(400, "invalid_argument", "the address of the page has no id: follow a link to it")
    found = await read(view, "get_schedule", id=schedule_id, limit=RUNS)
    asks = [] if found.info.created_at is None else [TRIGGER, RESUME if found.info.paused else PAUSE, BACKFILL]
    actions = [
        RunButton(ask.button, view.url(ask.page.path, id=schedule_id), ask.name, ask.danger)
        for ask in (*asks, DELETE)
        if view.may(BY_NAME[ask.name].scope)
    ]
    return {"found": found, "actions": actions}


async def _range(_view: View) -> Sequence[FormField]:
    hint = "A time with its offset, e.g. 2030-01-31T18:30:00Z."
    return (
        FormField(name="start", label="from", required=True, hint=hint, schema=TIME),
        FormField(name="end", label="to", required=True, hint=hint, schema=TIME),
    )


def _range_values(_view: View, form: FormData, fields: Sequence[FormField]) -> Mapping[str, Any]:
    start, end = values_of([(one,) for one in fields], form)
    return {"start": start, "end": end}


def _to_schedule(view: View, _answer: Any) -> str:
    return view.url("/schedule", id=view.exact("id"))


def _leave(view: View) -> str:
    return view.url("/schedule", id=view.exact("id"))


def _to_schedules(view: View, _answer: Any) -> str:
    return view.url("/schedules")


def _ask(name: str, title: str, button: str, text: str, **more: Any) -> Ask:
    return Ask(
        name=name,
        title=f"{title} {{{{ given.id }}}}",
        button=button,
        text=text,
        **({"after": _to_schedule, "leave": _leave} | more),
    )


TRIGGER = _ask("trigger_schedule", "Trigger schedule", "Start a run now", "A run is started now, beside the ticks.")
PAUSE = _ask("pause_schedule", "Pause schedule", "Pause", "No tick starts a run until it is resumed.")
RESUME = _ask("resume_schedule", "Resume schedule", "Resume", "It goes on with the first tick after now.")
BACKFILL = _ask("backfill_schedule", "Backfill schedule", "Backfill", "The runs of past ticks that have none are started.", fields=_range, values=_range_values)  # fmt: skip
DELETE = _ask("delete_schedule", "Delete schedule", "Delete", "It is deleted; its runs go on.", after=_to_schedules, danger=True)  # fmt: skip
ASKS = (TRIGGER, PAUSE, RESUME, BACKFILL, DELETE)
PAGE = UiPage("/schedules", "Schedules", "schedules.html", show_all, nav="Schedules", live="schedules.live.html")
ONE = UiPage("/schedule", "Schedule {{ found.info.id }}", "schedule.html", show_one, live="schedule.live.html")
