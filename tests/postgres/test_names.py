"""The longest names that the engine accepts fit every index of PostgreSQL."""

from __future__ import annotations

import random

import pytest

from stepflow import Engine, Limit, StepflowError, named
from tests.postgres.server import Server

CHANCE = random.Random(5)


def wide(size: int) -> str:
    """A text of `size` bytes that does not compress."""
    text = "".join(chr(CHANCE.randrange(0x4E00, 0x9FFF)) for _ in range(size // 3))
    return text + "x" * (size % 3)


@pytest.mark.parametrize("store", ["memory", "sqlite", "postgres"])
def test_the_longest_names_are_stored_and_longer_ones_are_refused_by_all_stores(
    store, server: Server, tmp_path
) -> None:
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/a.db", "postgres": server.url()}[store]
    flow = named(wide(500)).wait_event("e", event := wide(500), str, lambda _payload: None, timeout=60).compile()
    limits = [Limit("k" * 200, 3), Limit(wide(180), 3)]
    with Engine(url, namespace=wide(512)) as engine:
        engine.register(flow)
        options = {"labels": {wide(300): wide(900), wide(3000): wide(3000)}, "limits": limits, "dedup_key": wide(1000)}
        run = engine.start(flow, id=wide(1000), **options)
        run.publish(event, "p", id=wide(500))
        engine.run_until_idle()
        assert run.status() == "completed"
        for name, value in options["labels"].items():
            assert [info.id for info in engine.runs(labels={name: value})] == [run.id]
        for call in (
            lambda: engine.start(flow, id=wide(1002)),
            lambda: engine.start(flow, dedup_key=wide(1002)),
            lambda: engine.start(flow, limits=[*limits, Limit(wide(150), 1)]),
            lambda: engine.start(named(wide(501)).do("a", lambda: None).compile()),
            lambda: run.publish(wide(501), "p"),
            lambda: run.publish(event, "p", id=wide(501)),
            lambda: Engine(url, namespace=wide(513)),
        ):
            with pytest.raises(StepflowError, match="bytes"):
                call()
