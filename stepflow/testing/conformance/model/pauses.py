"""Rules of the state machine for pauses of runs and flows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.pauses import FlowPause, Pause, PausedFlowsQuery
from stepflow.drivers.port.step import Member
from stepflow.testing.conformance.model.choices import FLOWS, IDS, ids
from stepflow.testing.conformance.model.sides import Side


class PauseRules:
    """Mixed into the machine, which has `both`, `commit` and `now`."""

    both: Callable[[Callable[[Side], Any]], Any]
    commit: Callable[[Callable[[Side], Sequence[Member]]], None]
    now: int

    @rule(given=st.dictionaries(ids, st.sampled_from([True, True, False]), min_size=1, max_size=3))
    def pause(self, given: dict[str, bool]) -> None:
        """Pause a few runs, and let others go on, each by a commit of its own."""
        self.commit(lambda _side: [Commit(pause=(Pause(run_id, paused),)) for run_id, paused in given.items()])

    @rule()
    def resume_all(self) -> None:
        """Let all runs go on that are there."""
        batch = [Commit(pause=(Pause(run_id, paused=False),)) for run_id in IDS]
        self.commit(lambda _side: batch)

    @rule(flow=st.sampled_from(list(FLOWS)), paused=st.booleans())
    def pause_flow(self, flow: str, paused: bool) -> None:
        """Pause a flow, or let its runs be claimed again."""
        self.commit(lambda _side: [Commit(flow_pause=FlowPause(flow, paused, self.now))])
        self.both(lambda side: side.session("second").read(PausedFlowsQuery()))
