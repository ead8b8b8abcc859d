"""The flows of the composition: put your own here, and name their modules in compose.yaml."""

from __future__ import annotations

from attrs import frozen

from stepflow import Context, workflow


@frozen
class Order:
    """What a customer has ordered."""

    number: int
    cents: int


def charge(order: Order) -> str:
    """Charge the card; a real one calls a payment service with `current().key` as its idempotency key."""
    return f"receipt-{order.number}-{order.cents}"


@workflow("order/v1")
def order_flow(wf: Context, order: Order) -> str:
    """Charge an order."""
    return wf.execute("charge", charge, order)
