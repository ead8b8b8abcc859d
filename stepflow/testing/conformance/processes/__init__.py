"""The laws that need several threads or processes: races, kills, forks and crashes.

- `races.py`: `RaceLaws`, sessions in several threads; part of `DriverLaws`.
- `workers.py`: `ProcessLaws`, worker processes that are killed, stopped and forked; `child.py` is such a process.
- `crashes.py`: `CrashLaws`, a process that is killed at any moment of a short history; `crash_child.py` is that process.

The processes open the store by the driver's URL.
"""

from typing import TYPE_CHECKING

from stepflow.drivers.moved import moved_name

if not TYPE_CHECKING:  # checkers refuse names that are not here
    __getattr__ = moved_name(__name__, "ProcessLaws", "stepflow.testing.conformance")
