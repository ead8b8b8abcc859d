"""The verb `schedule` on a real store, with text and with JSON output."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from stepflow import Engine, Fernet, named

FLOW = named("report", dict).do("a", lambda: None).compile()


@pytest.fixture
def scheduled(stepflow):
    with Engine("sqlite:///shop.db") as engine:
        engine.schedule("nightly", FLOW, {"n": 1}, cron="30 2 * * *", tz="Europe/Berlin")
        engine.schedule("often", FLOW, {"n": 1}, every=timedelta(days=900))
    return stepflow


def test_list_and_show(scheduled):
    lines = [line.split("\t") for line in scheduled("schedule", "list").splitlines()]
    assert [line[:4] for line in lines[1:]] == [
        ["nightly", "report", "30 2 * * *", "Europe/Berlin"],
        ["often", "report", "every 900 days, 0:00:00", "UTC"],
    ]
    assert [one["id"] for one in scheduled.json("schedule", "list")] == ["nightly", "often"]
    text = scheduled("schedule", "show", "nightly")
    assert text.startswith("schedule 'nightly' starts flow 'report' at 30 2 * * * in Europe/Berlin\nits next tick is ")
    shown = scheduled.json("schedule", "show", "nightly")
    assert shown["info"]["timing"] == "30 2 * * *"
    assert shown["runs"] == []


def test_pause_resume_trigger_and_delete(scheduled):
    assert scheduled("schedule", "pause", "nightly") == "nightly: is paused\n"
    assert "it is paused" in scheduled("schedule", "show", "nightly")
    assert scheduled.json("schedule", "resume", "nightly") == {"id": "nightly"}
    run = scheduled.json("schedule", "trigger", "nightly")["run"]
    assert run.startswith("nightly@trigger-")
    assert [one["id"] for one in scheduled.json("schedule", "show", "nightly")["runs"]] == [run]
    assert scheduled("schedule", "delete", "nightly") == "nightly: is deleted\n"
    assert [one["id"] for one in scheduled.json("schedule", "list")] == ["often"]


def test_one_that_is_not_there(scheduled):
    assert scheduled("schedule", "pause", "nobody") == ""
    assert (scheduled.code, "there is no schedule 'nobody'" in scheduled.err) == (1, True)


def test_a_schedule_whose_input_cannot_be_read_here_is_listed_and_shown(stepflow):
    with Engine("sqlite:///shop.db", payload=[Fernet([Fernet.generate_key()])]) as engine:
        engine.schedule("nightly", FLOW, {"n": 1}, cron="30 2 * * *")
    assert scheduled_state(stepflow("schedule", "list")) == "active, input unreadable"
    assert "a worker that has the key starts its runs" in stepflow("schedule", "show", "nightly")
    assert "has the stages fernet" in stepflow.json("schedule", "show", "nightly")["info"]["unreadable"]
    stepflow("schedule", "pause", "nightly")
    assert scheduled_state(stepflow("schedule", "list")) == "paused, input unreadable"


def test_one_that_is_damaged_is_listed_as_such_and_can_be_deleted(scheduled):
    with closing(sqlite3.connect("shop.db")) as connection, connection:
        connection.execute("UPDATE stepflow_schedules SET body = 'nonsense' WHERE id = 'nightly'")
    _head, bad, good = scheduled("schedule", "list").splitlines()
    assert bad.startswith("nightly\t")
    assert "unreadable: its stored form is damaged" in bad
    assert good.startswith("often\treport\t")
    assert [bool(one["unreadable"]) for one in scheduled.json("schedule", "list")] == [True, False]
    assert "cannot be read here: its stored form is damaged" in scheduled("schedule", "show", "nightly")
    assert scheduled("schedule", "pause", "nightly") == ""
    assert (scheduled.code, "schedule 'nightly' cannot be read here" in scheduled.err) == (1, True)
    assert scheduled("schedule", "delete", "nightly") == "nightly: is deleted\n"
    assert [one["id"] for one in scheduled.json("schedule", "list")] == ["often"]


def scheduled_state(listed: str) -> str:
    return listed.splitlines()[-1].split("\t")[-1]
