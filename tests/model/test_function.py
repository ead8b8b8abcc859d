"""Flow functions: arguments of the decorator, and its errors."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stepflow.errors import DefinitionError
from stepflow.model.function import flow
from stepflow.model.retry import RetryPolicy


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("concurrency", 0, "give a whole number of runs"),
        ("retry", 3, "give a RetryPolicy"),
        ("hung_after", -1, "give more than 0 seconds"),
        ("hung_after", "2m", "is not a duration: give seconds or a timedelta"),
        ("max_crashes", 0, "give a whole number of crashes"),
    ],
)
def test_wrong_options_are_refused_by_name(option: str, value: Any, says: str):
    with pytest.raises(DefinitionError, match=f"^pay: {option}=.*{says}"):
        flow("pay", **{option: value})


def test_all_wrong_options_are_reported_together():
    with pytest.raises(DefinitionError) as caught:
        flow("pay", concurrency=True, hung_after=float("nan"), max_crashes=1.5)  # type: ignore[arg-type]
    assert len(caught.value.problems) == 3


def test_the_options_reach_the_flow():
    @flow("pay", concurrency=3, hung_after=timedelta(minutes=1), max_crashes=2)
    def pay(ctx: Any) -> None:
        """Pay."""

    options = pay.options
    assert (options.concurrency, options.hung_after_s, options.max_crashes) == (3, 60, 2)
    assert options.retry == RetryPolicy()
    assert pay.__doc__ == "Pay."
    assert flow("pay", hung_after=None)(lambda ctx: None).options.hung_after_s is None
