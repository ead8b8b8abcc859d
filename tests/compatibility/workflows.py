"""The workflow of the stored journals: the generator advanced its runs up to some point, the tests advance them to the end."""

from __future__ import annotations

from datetime import timedelta

from stepflow import Context, RetryPolicy, workflow

PAUSE = timedelta(hours=1)
PATIENT = RetryPolicy(max_attempts=2, delay=600, jitter=0)
KEYS = ["draw", "reserve", "pay", "cool-off", "approval", "ship"]
broken: set[str] = set()


def reserve(number: int) -> str:
    return f"reserved {number}: “Straße”"


def pay(number: int) -> int:
    if "pay" in broken:
        raise ConnectionError("no bank")
    return number * 100


def ship(number: int) -> str:
    return f"shipped {number}"


@workflow("shop.v1")
def shop(wf: Context, number: int) -> list[object]:
    drawn = wf.random_uint64("draw")
    found: list[object] = [wf.execute("reserve", reserve, number), wf.execute("pay", pay, number, retry=PATIENT)]
    wf.sleep("cool-off", PAUSE)
    by = wf.wait_for_event("approval", "approved", str)
    return [drawn, *found, by, wf.execute("ship", ship, number)]
