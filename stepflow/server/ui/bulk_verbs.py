"""bulk_verbs: what can be done to all runs of a filter, in words."""

from __future__ import annotations

from collections.abc import Mapping

VERBS: Mapping[str, str] = {
    "cancel_runs": "Cancel",
    "redrive_runs": "Redrive those that failed",
    "wake_runs": "Retry those that sleep or are blocked now",
    "pause_runs": "Pause",
    "resume_runs": "Resume",
    "publish_to_runs": "Publish an event",
    "move_runs": "Move to another position",
    "fork_runs": "Fork before a step",
    "rewind_runs": "Rewind to before a step",
}
PLACES: Mapping[str, tuple[str, ...]] = {
    "move_runs": ("to",),
    "fork_runs": ("step", "suffix"),
    "rewind_runs": ("step",),
}
"""Verb -> the parameters that it needs beside the runs."""
