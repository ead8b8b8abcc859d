"""Exactly-once effects of at-least-once steps: `current().key` is the same for every attempt of a step."""

import sqlite3

from attrs import define

from stepflow import Engine, RetryPolicy, Steps, current, named

bank = sqlite3.connect("bank.db", check_same_thread=False, isolation_level=None)
bank.execute("CREATE TABLE IF NOT EXISTS transfer (key TEXT PRIMARY KEY, cents INTEGER)")


@define
class Refund:
    cents: int


def transfer(refund: Refund) -> None:
    """A fake payment API that takes an idempotency key; its first response is lost."""
    done = bank.execute("INSERT OR IGNORE INTO transfer VALUES (?, ?)", (current().key, refund.cents)).rowcount
    print(f"{current().key}: {'transferred' if done else 'was transferred before'}")
    if current().attempt == 1:
        raise ConnectionError("the answer got lost")


refund_flow = (
    named("refund.v1", Refund)
    .retry("bank", RetryPolicy(delay=0.01, on=ConnectionError), Steps().do("transfer", transfer))
    .compile()
)

with Engine("sqlite:///refunds.db") as engine:
    engine.register(refund_flow)
    run = engine.start(refund_flow, Refund(1250), id="refund-9")
    with engine.worker():  # advances runs in the background
        print(run.result(timeout=60))
print("transfers at the bank:", bank.execute("SELECT count(*), sum(cents) FROM transfer").fetchone())
bank.close()
