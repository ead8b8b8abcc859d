"""A long step makes each of its calls once: its second attempt continues after the last call that was finished."""

from attrs import define, field

from stepflow import Engine, RetryPolicy, current, named
from stepflow.testing import VirtualClock


@define
class Invoices:
    customers: list[str]
    numbers: list[int] = field(factory=list[int])


lost = [ConnectionError("the mail server is gone")]


def send_invoice(customer: str) -> int:
    print("sent to", customer)
    return 1000 + len(customer)


def send_all(invoices: Invoices) -> None:
    print("attempt", current().attempt)
    for customer in invoices.customers:
        invoices.numbers.append(current().once(customer, send_invoice, customer))
        if customer == "bob" and lost:
            raise lost.pop()


flow = named("invoices.v1", Invoices).do("send", send_all).compile(retry=RetryPolicy(max_attempts=2, delay=1))

with Engine("memory://", clock=VirtualClock()) as engine:
    engine.register(flow)
    run = engine.start(flow, Invoices(["alice", "bob", "carol"]))
    engine.run_until_idle(advance=True)
    print(run.status(), run.result().numbers)
