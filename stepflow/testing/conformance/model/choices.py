"""What the state machine chooses from: few ids, labels and positions, so that its calls meet each other."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

from stepflow.model.family import PARENT
from stepflow.model.run_timeout import RUN_ENDS
from stepflow.testing.conformance.kit import FLOW, awaiting, ended, going, polling

IDS = tuple(f"r{number}" for number in range(6))
FLOWS: Mapping[str, str] = {FLOW: "d1", "other": "d2"}
ids = st.sampled_from(IDS)
events = st.sampled_from(["paid", "sent"])
offsets = st.integers(-2, 5)
transitions = st.sampled_from(
    [going("a"), going("b"), polling(), awaiting("paid"), awaiting("sent", "paid"), ended(), ended("failed")]
)
exchanges = st.sampled_from([None, "[1]", '"ü"'])
labels = st.sampled_from(
    [
        {},
        {"k": "v"},
        {"k": "w", "t": "\x00"},
        {PARENT: "r0"},
        {PARENT: "r1", "k": "v"},
        {RUN_ENDS: "5 3"},
        {RUN_ENDS: "9 7", PARENT: "r0"},
    ]  # children, and time limits
)
