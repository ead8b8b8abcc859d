"""The cases of flowstate's driver suite, as a stepflow engine carries them out on a server that knows nothing but flowstate.v1."""

from __future__ import annotations

import pytest

from stepflow.drivers.http import HttpDriver
from stepflow.testing.conformance.cases.commits import CommitCases
from stepflow.testing.conformance.cases.data import DataCases
from stepflow.testing.conformance.cases.execution import ExecutionCases
from stepflow.testing.conformance.cases.iterators import IteratorCases
from stepflow.testing.conformance.cases.reads import ReadCases, WatchCases
from stepflow.testing.conformance.cases.timers import TimerCases
from stepflow.testing.conformance.cases.together import TogetherCases

pytestmark = pytest.mark.usefixtures("forking")

SERVERS_CLOCK = "the time of a commit is the server's, which is not the virtual clock of the case: test_times.py has it in real time"
SECONDS = "the protocol has whole seconds: test_times.py"
NOT_CARRIED = {
    "test_a_commit_creates_a_state_as_it_was_given": "an annotation has an empty name, which the protocol refuses: test_refusals.py",
    "test_a_commit_that_expects_another_revision_is_refused": "its State is edited between park and delay: test_refusals.py",
    "test_case_32_get_many_since_time": SERVERS_CLOCK,
    "test_case_38_watch_since_time": SERVERS_CLOCK,
    "test_a_watch_since_a_time_to_come_lets_pass_what_comes_before": SERVERS_CLOCK,
    "test_case_17_delay": SECONDS,
    "test_delays_are_executed_at_their_time": SECONDS,
    "test_a_delay_is_void_when_its_state_moved_on_unless_it_needs_no_commit": "delays without commit are left to the server: test_times.py",
}
"""The cases that do not apply, and why; where their subject is tested instead."""


class TestFlowstate(
    ExecutionCases, TogetherCases, TimerCases, DataCases, ReadCases, WatchCases, IteratorCases, CommitCases
):
    @pytest.fixture
    def driver(self, flowstate_url):
        return HttpDriver(flowstate_url)

    @pytest.mark.soak
    def test_every_one_of_a_thousand_delays_is_executed_once(self, driver):
        super().test_every_one_of_a_thousand_delays_is_executed_once(driver)

    @pytest.mark.soak
    def test_more_delays_than_a_page_are_carried_out_behind_as_many_void_ones(self, driver):
        super().test_more_delays_than_a_page_are_carried_out_behind_as_many_void_ones(driver)


for _name in NOT_CARRIED:
    assert callable(getattr(TestFlowstate, _name))
    setattr(TestFlowstate, _name, None)
