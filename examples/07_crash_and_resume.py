"""A process dies in the middle of a run; the next process resumes the run at the interrupted step."""

import os
import signal
import subprocess
import sys

from attrs import define

from stepflow import Engine, named

doomed = "doomed" in sys.argv


@define
class Trip:
    city: str
    booked: list[str]


def book(what: str, trip: Trip) -> None:
    print(f"  book the {what} in {trip.city}", flush=True)
    if what == "hotel" and doomed:
        os.kill(os.getpid(), signal.SIGKILL)  # no cleanup
    trip.booked.append(what)


trip_flow = (
    named("trip.v1", Trip)
    .do("flight", lambda trip: book("flight", trip))
    .do("hotel", lambda trip: book("hotel", trip))
    .do("museum", lambda trip: book("museum", trip))
    .compile()
)


def advance() -> list[str]:
    with Engine("sqlite:///trips.db") as engine:
        engine.register(trip_flow)
        run = engine.start(trip_flow, Trip("Lisbon", []), id="trip-1")  # the same id returns the same run
        engine.run_until_idle()
        return run.result().booked


if doomed:
    advance()
print("first process:", flush=True)
died = subprocess.run([sys.executable, __file__, "doomed"], check=False)
print(f"it ended with signal {signal.Signals(-died.returncode).name}\nsecond process:", flush=True)
print(advance())
