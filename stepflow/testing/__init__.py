"""Tools for testing flows and drivers; the parts that need Hypothesis say so when they are imported without it."""

from stepflow.engine.clock import VirtualClock

__all__ = ["VirtualClock"]
