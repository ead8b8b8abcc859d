"""The laws of the port as tests of one session's calls: `test_law_9_...` tests law 9 of `stepflow.drivers.port.store`.

- `commits.py`: laws 1 to 4, atomicity, revisions, numbers and fences.
- `claims.py`: laws 5 and 6, the order of claims and the death of owners.
- `events.py`: law 7, events and marks to cancel.
- `records.py`: laws 8 to 11, durability, exactness, namespaces and history.
- `deltas.py`: law 9 for large exchanges.
- `inbox.py`: law 12, the caller's transactions.
- `delays.py`, `data.py`, `revisions.py`: laws 13 to 15.
- `limits.py`: laws 16 and 17, limits and deduplication keys.
- `queries.py`: lists and counts.
- `journal.py`: law 21, journal rows.
- `pruning.py`: law 22, pruning in pieces.
- `children.py`: law 23, children and their parents.
- `schedules.py`: law 24, schedules.
- `pauses.py`: law 26, pauses of runs and flows.
- `run_timeouts.py`: law 27, the time limits of runs.
- `user_transactions.py`: law 25, functions of the user in a transaction of the store.

A new law gets its number in the docstring of the port and at least one test named after it here or in `processes/`;
the architecture test compares the two. `DriverLaws` (`driver_laws.py`) inherits all of them.
"""

from typing import TYPE_CHECKING

from stepflow.drivers.moved import moved_name

if not TYPE_CHECKING:  # checkers refuse names that are not here
    __getattr__ = moved_name(__name__, "DriverLaws", "stepflow.testing.conformance")
