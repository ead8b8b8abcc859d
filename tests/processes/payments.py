"""Workflows and a chain that write a table of the user's in the store of their runs; each stops at the gate before and after it writes."""

from __future__ import annotations

from typing import Any

from stepflow import Context, named, workflow
from tests.processes.flows import Count, pass_gate, report


def pay(connection: Any, name: str) -> str:
    """Write a row."""
    report("point", note=f"before {name}")
    pass_gate()
    connection.execute(f"insert into bank values ('{name}')")
    report("point", note=f"after {name}")
    pass_gate()
    return name


@workflow("each_paid", max_crashes=1000)
def each_paid(wf: Context) -> list[str]:
    return [wf.transaction(name, pay, name, timeout=3600) for name in ("a", "b")]


@workflow("all_paid", atomic=True, max_crashes=1000)
def all_paid(wf: Context) -> list[str]:
    return [wf.execute("a", pay, wf.tx, "a"), wf.transaction("b", pay, "b")]


def pay_in_chain(count: Count, connection: Any) -> None:
    """Write a row, and count."""
    pay(connection, "ab"[count.n])
    count.n += 1


chain_paid = (
    named("chain_paid", Count)
    .do("a", pay_in_chain, transaction=True, timeout=3600)
    .do("b", pay_in_chain, transaction=True, timeout=3600)
    .compile(max_crashes=1000)
)
