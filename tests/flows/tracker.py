"""What the tests of flow functions use of the shipped kit."""

from __future__ import annotations

from stepflow.testing.conformance.cases.kit import Tracker, on_loop

__all__ = ["Tracker", "on_loop"]
