"""A store in which a record is missing: only the run that needs it is blocked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from stepflow import Engine, Status, named


def test_a_run_whose_exchange_is_gone_is_blocked_and_the_others_go_on(tmp_path: Path):
    path = tmp_path / "shop.db"
    flow = named("order.v1", dict).do("bill", lambda order: order.update(billed=True)).compile()
    with Engine(f"sqlite:///{path}") as engine:
        engine.register(flow)
        for name in ("good", "bad"):
            engine.start(flow, {"amount": 1}, id=name)
    with closing(sqlite3.connect(path)) as program:
        program.execute("DELETE FROM stepflow_history WHERE id = 'bad'")
        program.commit()
    with Engine(f"sqlite:///{path}") as engine:
        engine.register(flow)
        engine.run_until_idle()
        assert (engine.get("good").status(), engine.get("bad").status()) == (Status.COMPLETED, Status.BLOCKED)
        assert engine.get("good").exchange() == {"amount": 1, "billed": True}
