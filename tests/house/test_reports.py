"""What pytest-xdist sends of a test can be sent, whatever the test printed."""

from __future__ import annotations

import execnet
import pytest


def test_a_test_that_prints_half_a_character_is_reported(request: pytest.FixtureRequest) -> None:
    text = "printed \ud800 \U0001f600"
    report = pytest.TestReport(
        "tests/test_x.py::test_x",
        ("tests/test_x.py", 1, "test_x"),
        {},
        "failed",
        text,
        "call",
        [("Captured log call", text)],
    )
    sent = request.config.hook.pytest_report_to_serializable(config=request.config, report=report)
    received = execnet.loads(execnet.dumps(sent))
    assert received["sections"] == [("Captured log call", "printed \\ud800 \U0001f600")]
    assert received["longrepr"] == "printed \\ud800 \U0001f600"
