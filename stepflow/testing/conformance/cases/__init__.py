"""The cases: an engine on a driver, case by numbered case; flow functions, timers, data, reads and watches.

`test_case_01_...` to `test_case_38_...` are the cases of flowstate's conformance suite by their numbers there; the others
are its tests of iterators, recovery, delays and drivers. Where stepflow promises more, the case asks for more.

- `execution.py`, `together.py`: cases 1 to 16, flow functions alone and together.
- `timers.py`: cases 17 and 18, and the times and counts of delays.
- `data.py`: cases 19 to 23.
- `reads.py`, `iterators.py`, `matrix.py`: cases 24 to 38, and queries in every combination.
- `commits.py`: the commits of the drivers' own tests.
- `recovery.py`, `takeover.py`: executions that did not end, and workers that stop, die or hang.
- `workflows.py`: workflows that are replayed.
- `children.py`: children of workflows that fail and are redriven.
- `topics.py`: messages that are published while runs begin to wait for them.
- `run_timeouts.py`: time limits of whole runs.
- `kit.py`: what the cases share, above all `open_engine` and `Tracker`.

A new case is a method of the class whose subject it has; `EngineCases` (`engine_cases.py`) inherits all of them.
"""

from typing import TYPE_CHECKING

from stepflow.drivers.moved import moved_name

if not TYPE_CHECKING:  # checkers refuse names that are not here
    __getattr__ = moved_name(__name__, "EngineCases", "stepflow.testing.conformance")
