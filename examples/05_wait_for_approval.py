"""Wait for an approval: the run waits for an event, for minutes or for months, without using a worker."""

from datetime import timedelta

from attrs import define, frozen

from stepflow import Engine, named
from stepflow.testing import VirtualClock


@frozen
class Approval:
    by: str
    granted: bool


@define
class Release:
    version: str
    approved_by: str = ""


def take(release: Release, approval: Approval) -> None:
    if not approval.granted:
        raise PermissionError(f"{approval.by} said no")
    release.approved_by = approval.by


release_flow = (
    named("release.v1", Release)
    .do("announce", lambda release: print(f"{release.version} asks for approval"))
    .wait_event("approval", "release.approved", Approval, take, timeout=timedelta(days=3))
    .do("publish", lambda release: print(f"{release.version} goes out, approved by {release.approved_by}"))
    .compile()
)

clock = VirtualClock()
with Engine("sqlite:///releases.db", clock=clock) as engine:
    engine.register(release_flow)
    runs = [engine.start(release_flow, Release(version), id=version) for version in ("1.0", "1.1", "1.2")]
    idle = engine.run_until_idle()
    print(f"{idle.waiting} runs wait; 1.0 for {runs[0].info().waiting_for}")
    runs[0].publish("release.approved", Approval("Ada", True), id="mail-17")
    runs[0].publish("release.approved", Approval("Ada", True), id="mail-17")  # delivered twice, received once
    runs[1].publish("release.approved", Approval("Bob", False))
    engine.run_until_idle()
    clock.advance(timedelta(days=3))
    engine.run_until_idle()
    for run in runs:
        info = run.info()
        print(run.id, info.status, "" if info.error is None else f"({info.error.type}: {info.error.message})")
