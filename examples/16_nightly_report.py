"""A report each night at 02:30 in Berlin, also in the night in which the clocks are put forward; a slow one skips a tick."""

from datetime import UTC, datetime, timedelta

from stepflow import Context, Engine, workflow
from stepflow.testing import VirtualClock


def collect(region: str) -> int:
    return len(region)


@workflow("report.v1")
def report(wf: Context, regions: list[str]) -> int:
    total = sum(wf.execute(f"collect {region}", collect, region) for region in regions)
    wf.sleep("the warehouse is busy", timedelta(hours=30 if "03-30" in wf.run_id else 1))
    return total


clock = VirtualClock(datetime(2026, 3, 27, 12, tzinfo=UTC))
with Engine("memory://", clock=clock) as engine:
    engine.register(report)
    nightly = engine.schedule(
        "nightly", report, ["north", "south"], cron="30 2 * * *", tz="Europe/Berlin", catch_up=timedelta(hours=6),
        run_timeout=timedelta(days=2),
    )  # fmt: skip
    engine.run_until_idle(advance=True, until=timedelta(days=5))
    for run in reversed(nightly.runs()):
        print(run.id, run.status)
    print(nightly.explain())
    nightly.pause()
    again = nightly.trigger()
    engine.run_until_idle(advance=True)
    print(again.result(), nightly.info().paused)
