"""RunKey: the shard label and the id of a run, by which clients of the Go library `flows` name it; a value of clients, stored nowhere."""

from __future__ import annotations

from attrs import frozen

from stepflow.errors import StepflowError
from stepflow.model.shard import fnv1a_32


@frozen
class RunKey:
    """`shard` is `<flow>_<k>`, where k is the FNV-1a hash (32 bits) of the run's id, modulo the number of shards."""

    shard: str
    run_id: str

    @classmethod
    def of(cls, flow: str, run_id: str, shards: int = 1) -> RunKey:
        """The key of a run of the flow named `flow`; StepflowError if `shards` is no whole number from 1 on."""
        _check(shards)
        return cls(f"{flow}_{fnv1a_32(run_id) % shards}", run_id)

    @staticmethod
    def shards(flow: str, shards: int = 1) -> list[str]:
        """All shard labels of a flow: `["order_0", "order_1", ...]`."""
        _check(shards)
        return [f"{flow}_{k}" for k in range(shards)]


def _check(shards: object) -> None:
    if isinstance(shards, bool) or not isinstance(shards, int) or shards < 1:
        raise StepflowError(f"shards={shards!r:.80}: give a whole number from 1 on")
