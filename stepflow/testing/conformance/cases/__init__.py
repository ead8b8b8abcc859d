"""EngineCases: what an engine does on a driver, case by numbered case; flow functions, timers, data, reads and watches.

In a test module of a driver:

    class TestMyDriverCases(EngineCases):
        @pytest.fixture
        def driver(self, tmp_path): return MyDriver(tmp_path / "store")

`test_case_01_...` to `test_case_38_...` are the cases of flowstate's conformance suite by their numbers there; the others
are its tests of iterators, recovery, delays and drivers. Where stepflow promises more, the case asks for more. With
`pytest.register_assert_rewrite("stepflow.testing.conformance")` in your conftest.py a failure shows the values.
"""

from stepflow.testing.conformance.cases.commits import CommitCases
from stepflow.testing.conformance.cases.data import DataCases
from stepflow.testing.conformance.cases.execution import ExecutionCases
from stepflow.testing.conformance.cases.iterators import IteratorCases
from stepflow.testing.conformance.cases.matrix import MatrixCases
from stepflow.testing.conformance.cases.reads import ReadCases, WatchCases
from stepflow.testing.conformance.cases.recovery import RecoveryCases
from stepflow.testing.conformance.cases.takeover import TakeoverCases
from stepflow.testing.conformance.cases.timers import TimerCases
from stepflow.testing.conformance.cases.together import TogetherCases


class EngineCases(
    ExecutionCases,
    TogetherCases,
    TimerCases,
    DataCases,
    ReadCases,
    WatchCases,
    IteratorCases,
    CommitCases,
    MatrixCases,
    RecoveryCases,
    TakeoverCases,
):
    """Subclass it with a fixture `driver` that gives a fresh driver on an empty store."""
