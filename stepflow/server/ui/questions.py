"""The page of open questions: runs that wait for an event, each with a link to the form that answers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from stepflow.engine.client.filters import RunFilter
from stepflow.engine.client.info import RunInfo
from stepflow.model.family import RESERVED
from stepflow.model.lifecycle import Status
from stepflow.model.schema_check import resolved
from stepflow.server.ui.run_asks import payload_schema
from stepflow.server.ui.view import UiPage, View

SIZE = 50  # runs of a page


@frozen
class Question:
    """An event for which a run waits; `payload` is the name of its type, as far as it is known; `url` leads to the form."""

    run: RunInfo
    event: str
    payload: str
    url: str


async def show(view: View) -> Mapping[str, Any]:
    """The questions of a page of runs that wait."""
    page = await view.engine.runs(
        RunFilter(status=Status.WAITING.value), limit=SIZE, cursor=view.query("cursor") or None
    )
    found = [_question(view, run, event) for run in page for event in run.awaits if not event.startswith(RESERVED)]
    return {"questions": found, "next": page.next}


def _question(view: View, run: RunInfo, event: str) -> Question:
    url = view.url("/ask/publish_event", id=run.id, event=event) if view.may("operate") else ""
    return Question(run, event, _kind(payload_schema(view, run, event)), url)


def _kind(schema: Mapping[str, Any] | None) -> str:
    """What the payload is, in a word or two; empty if that is not known."""
    if schema is None:
        return ""
    found = resolved(schema, schema)
    return str(found.get("title") or found.get("type") or ("a choice" if "enum" in found else ""))


PAGE = UiPage("/questions", "Open questions", "questions.html", show, nav="Questions", live="questions.live.html")
