"""A flow of another team: a worker of this module knows none of the others'."""

from __future__ import annotations

from stepflow import named
from tests.processes.flows import Count, count

foreign = named("foreign", Count).do("only", count).compile()
