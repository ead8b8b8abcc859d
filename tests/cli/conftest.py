"""A folder with a module of flows and a store, and the command line run inside this process."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from attrs import define

from stepflow.cli.app import run

SHOP = """
from attrs import define
from stepflow import Steps, named

@define
class Order:
    number: int
    approved_by: str = ""

def check(order: Order) -> None:
    if order.number < 0:
        raise ValueError("no such\\norder")

def approve(order: Order, name: str) -> None:
    order.approved_by = name

order_flow = (
    named("order.v1", Order)
    .do("check", check)
    .wait_event("approval", "order.approved", str, approve)
    .do("ship", lambda order: None)
    .compile()
)
"""


@define
class Command:
    """Runs commands; the environment names the store."""

    capsys: Any
    code: int = 0
    err: str = ""

    def __call__(self, *args: str) -> str:
        """stdout of `stepflow args...`; `code` and `err` are those of the last call."""
        self.code = run(args)
        captured = self.capsys.readouterr()
        self.err = captured.err
        return captured.out

    def json(self, *args: str) -> Any:
        """The JSON output of the command."""
        return json.loads(self(*args, "--json"))


@pytest.fixture
def stepflow(tmp_path, monkeypatch, capsys):
    """The command, in a folder with shop.py, on a store that does not exist yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("STEPFLOW_STORE", "sqlite:///shop.db")
    monkeypatch.setenv("COLUMNS", "200")
    interval = sys.getswitchinterval()
    (tmp_path / "shop.py").write_text(SHOP)
    yield Command(capsys)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    sys.setswitchinterval(interval)


@pytest.fixture
def waiting(stepflow):
    """The command on a store in which order-1 waits for its approval and order--1 has failed."""
    stepflow("start", "shop", '{"number": 1}', "--id", "order-1", "--label", "tenant=acme")
    stepflow("start", "shop", '{"number": -1}', "--id", "order--1")
    stepflow("worker", "shop", "--until-idle")
    return stepflow
