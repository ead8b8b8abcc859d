"""RunKey: the shard labels of the Go library, by its test vectors."""

from __future__ import annotations

import pytest

from stepflow import RunKey, StepflowError
from stepflow.model.shard import fnv1a_32

VECTORS = [
    ("run-123", 0x4AFD797B, {8: 3, 16: 11, 32: 27}),
    ("run-456", 0xF839C61C, {8: 4, 16: 12, 32: 28}),
    ("run-abc-123", 0x1C94D8C6, {8: 6, 16: 6, 32: 6}),
    ("00000000-0000-0000-0000-000000000000", 0xBE478ED1, {8: 1, 16: 1, 32: 17}),
    ("018c123e-4567-7890-abcd-ef0123456789", 0xA55E9C6A, {8: 2, 16: 10, 32: 10}),
]


@pytest.mark.parametrize(("run_id", "value", "shards"), VECTORS)
def test_the_shard_of_an_id_is_that_of_the_go_library(run_id: str, value: int, shards: dict[int, int]) -> None:
    assert fnv1a_32(run_id) == value
    for number, k in shards.items():
        assert RunKey.of("order", run_id, number) == RunKey(f"order_{k}", run_id)
    assert RunKey.of("order", run_id) == RunKey("order_0", run_id)


def test_the_labels_of_a_flow() -> None:
    assert RunKey.shards("order", 3) == ["order_0", "order_1", "order_2"]


@pytest.mark.parametrize("wrong", [0, -1, True, 1.0, "2"])
def test_a_number_of_shards_below_one_is_an_error(wrong: object) -> None:
    with pytest.raises(StepflowError, match="give a whole number from 1 on"):
        RunKey.of("order", "a", wrong)  # type: ignore[arg-type]
    with pytest.raises(StepflowError, match="give a whole number from 1 on"):
        RunKey.shards("order", wrong)  # type: ignore[arg-type]
