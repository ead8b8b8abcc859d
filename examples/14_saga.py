"""A saga: when a later step fails, or the run is cancelled, the workflow undoes the earlier ones, also after a crash in between."""

from stepflow import Cancelled, Context, Engine, RetryPolicy, RunCancelled, workflow
from stepflow.testing import VirtualClock

FULL = {"hotel in Rome"}


class Full(Exception):
    pass


def book(what: str) -> str:
    if what in FULL:
        raise Full(what)
    print(f"  book {what}")
    return what


def cancel(what: str) -> None:
    print(f"  cancel {what}")


@workflow("trip/v1")
def trip(wf: Context, city: str) -> str:
    done: list[tuple[str, str]] = []
    try:
        for what in ("flight", "car", "hotel"):
            booked = wf.execute(f"book/{what}", book, f"{what} in {city}")
            done.append((what, booked))
        wf.wait_for_event("confirmed", "confirmed", bool)
    except (Full, Cancelled) as error:
        for what, booked in reversed(done):
            wf.execute(f"cancel/{what}", cancel, booked, retry=RetryPolicy(max_attempts=10))
        if isinstance(error, Cancelled):
            raise
        return f"no trip: {error} is full"
    return f"have a nice trip to {city}"


with Engine("sqlite:///trips.db", clock=VirtualClock()) as engine:
    engine.register(trip)
    for city in ("Paris", "Rome", "Oslo"):
        print(city)
        run = engine.start(trip, city, id=city)
        engine.run_until_idle()
        if city == "Paris":
            run.publish("confirmed", True)
        elif city == "Oslo":
            run.cancel()
        engine.run_until_idle()
        try:
            print(run.result())
        except RunCancelled as error:
            print(error)
