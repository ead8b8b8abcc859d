"""Tools for testing flows and drivers; modules that need Hypothesis raise ImportError without it."""

from stepflow.engine.clock import VirtualClock

__all__ = ["VirtualClock"]
