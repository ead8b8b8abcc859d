"""The page of flows: how many runs they have, and whether they are paused; runs are started from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepflow.server.ui.asks import Ask
from stepflow.server.ui.operator_view import read
from stepflow.server.ui.view import UiPage, View


async def show(view: View) -> Mapping[str, Any]:
    """All flows."""
    return {
        "flows": [one for one in (await read(view, "list_flows", recent=True)).flows if one.name]
    }  # States that go nowhere have none


def _to_flows(view: View, _answer: Any) -> str:
    return view.url("/flows")


PAUSE = Ask(
    name="pause_flow",
    title="Pause flow {{ given.flow }}",
    button="Pause the flow",
    text="No worker takes its runs until it is resumed, over all workers; runs that are held go on. New runs can be started.",
    given=("flow",),
    after=_to_flows,
    leave=lambda view: view.url("/flows"),
    danger=True,
)
RESUME = Ask(
    name="resume_flow",
    title="Resume flow {{ given.flow }}",
    button="Resume the flow",
    text="Workers take its runs again. Runs that are paused themselves stay so.",
    given=("flow",),
    after=_to_flows,
    leave=lambda view: view.url("/flows"),
)
ASKS = (PAUSE, RESUME)
PAGE = UiPage("/flows", "Flows", "flows.html", show, nav="Flows", live="flows.live.html")
