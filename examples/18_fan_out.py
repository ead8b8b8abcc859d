"""Fan-out with partial failures: many calls at a time, some fail; the good ones are kept, and only the bad ones are tried again"""

from attrs import frozen

from stepflow import Context, Engine, Failed, Ok, RetryPolicy, workflow
from stepflow.testing import VirtualClock

PRICES = {"milk": 119, "bread": 250, "salt": 79}
calls: list[str] = []


@frozen
class Basket:
    cents: int
    missing: list[str]


def price(item: str) -> int:
    calls.append(item)
    if item == "salt" and calls.count("salt") < 3:
        raise ConnectionError("the shop does not answer")
    if item not in PRICES:
        raise LookupError(f"no shop sells {item}")
    return PRICES[item]


@workflow("basket/v1", retry=RetryPolicy(max_attempts=5, delay=60, on=ConnectionError))
def basket(wf: Context, items: list[str]) -> Basket:
    found = wf.map("price", price, items, width=2)  # an Ok or a Failed for each, in the order of the items
    for one in found:
        if isinstance(one, Failed) and isinstance(one.error, ConnectionError):
            raise one.error  # the run goes on in a minute, and calls this item again, no other one
    cents = sum(one.value for one in found if isinstance(one, Ok))
    return Basket(cents, [str(one.error) for one in found if isinstance(one, Failed)])


@workflow("strict/v1")
def strict(wf: Context, items: list[str]) -> list[str]:
    found = wf.map("price", price, items, width=1, fail_after=1)  # no call begins after the first failure
    return [f"{one.value} cents" if isinstance(one, Ok) else str(one.error) for one in found]


@workflow("fastest/v1")
def fastest(wf: Context, items: list[str]) -> list[int]:
    found = wf.map("price", price, items, width=1, first=1)  # one price is enough
    return [one.value for one in found if isinstance(one, Ok)]


with Engine("sqlite:///baskets.db", clock=VirtualClock()) as engine:
    engine.register(basket, strict, fastest)
    run = engine.start(basket, ["milk", "gold", "salt", "bread"])
    engine.run_until_idle(advance=True)
    print(run.result())
    print("calls:", ", ".join(f"{calls.count(item)} x {item}" for item in ("milk", "gold", "salt", "bread")))
    at_most_one, one_is_enough = (
        engine.start(strict, ["gold", "milk"]),
        engine.start(fastest, ["gold", "bread", "milk"]),
    )
    engine.run_until_idle(advance=True)
    print(at_most_one.result(), one_is_enough.result())
