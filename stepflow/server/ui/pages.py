"""The tables of all pages, files and actions: a new one is a file beside this one, and a line here."""

from __future__ import annotations

from stepflow.server.ui import bulk, bulk_change, flows, questions, run, run_asks, runs, schedules, store, stored_value
from stepflow.server.ui.view import UiAction, UiFile, UiPage

ASKS = (*run_asks.ASKS, *flows.ASKS, *schedules.ASKS)

PAGES: tuple[UiPage, ...] = (
    runs.PAGE,
    run.PAGE,
    stored_value.PAGE,
    questions.PAGE,
    flows.PAGE,
    schedules.PAGE,
    schedules.ONE,
    store.WORKERS,
    store.STORE,
    store.AUDIT,
    bulk.PAGE,
    bulk_change.PAGE,
    *(ask.page for ask in ASKS),
)
"""In the order of the navigation."""

FILES: tuple[UiFile, ...] = (stored_value.FILE,)

ACTIONS: tuple[UiAction, ...] = (*(ask.action() for ask in ASKS), bulk.ACTION, bulk_change.STOP)
