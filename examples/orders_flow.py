"""The order pipeline: reserve the item, charge the card, wait for the approval of large orders, ship, and mail the customer."""

from __future__ import annotations

import asyncio
import os
from decimal import Decimal
from pathlib import Path
from zlib import crc32

from attrs import define
from orders_ledger import Ledger

from stepflow import RetryPolicy, Steps, current, named

NETWORK_S = 0.05  # seconds that a call of another system takes


@define
class Order:
    """One order; the pipeline fills in the last three fields."""

    number: int
    customer: str
    item: str
    quantity: int
    amount: Decimal
    payment: str = ""
    approved_by: str = ""
    parcel: str = ""


class OutOfStock(Exception):
    """The stock of the item is too small."""


class CardDeclined(Exception):
    """The bank declined the payment; a retry would not help."""


class Shop:
    """The systems around the pipeline: stock, bank, parcel service and mail; they record their effects in the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def reserve(self, order: Order) -> None:
        await self.done(
            f"reserve {order.quantity} x {order.item}", refuse=order.quantity > 10 and OutOfStock(order.item)
        )

    async def charge(self, order: Order) -> None:
        step = current()
        if crc32(f"{step.key}#{step.attempt}".encode()) % 10 == 0:
            raise ConnectionError("the bank does not answer")
        declined = crc32(order.customer.encode()) % 90 == 0
        await self.done(
            f"charge {order.amount}", refuse=declined and CardDeclined(f"{order.amount} for {order.customer}")
        )
        order.payment = f"pay-{order.number}"

    async def approve(self, order: Order, name: str) -> None:
        order.approved_by = name

    async def ship(self, order: Order) -> None:
        await self.done(f"ship to {order.customer}")
        order.parcel = f"parcel-{order.number}"

    async def mail(self, order: Order) -> None:
        await self.done(f"mail {order.customer}: {order.parcel} is on its way")

    async def done(self, effect: str, refuse: Exception | bool = False) -> None:
        """Call another system; it refuses, or records the effect once per idempotency key."""
        await asyncio.sleep(NETWORK_S)
        if isinstance(refuse, Exception):
            raise refuse
        self.ledger.record(current().key, effect)


def is_large(order: Order) -> bool:
    return order.amount > 1000


shop = Shop(Ledger(Path(os.environ.get("DEMO_LEDGER", "demo-ledger.db"))))

order_flow = (
    named("orders.v1", Order)
    .do("reserve", shop.reserve)
    .retry("payment", RetryPolicy(max_attempts=5, delay=0.2, on=ConnectionError), Steps().do("charge", shop.charge))
    .case("large", is_large, Steps().wait_event("approval", "order.approved", str, shop.approve))
    .do("ship", shop.ship)
    .do("mail", shop.mail)
    .compile()
)
