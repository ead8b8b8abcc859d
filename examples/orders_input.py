"""Reads the orders of a CSV file; invalid rows are refused with their line and the reason."""

from __future__ import annotations

import csv
from decimal import Decimal, InvalidOperation
from pathlib import Path

from attrs import frozen
from orders_flow import Order

FIELDS = ("order", "customer", "item", "quantity", "amount")


@frozen
class Refused:
    """An invalid row: its first line, and the reason."""

    line: int
    reason: str


def read_orders(path: Path) -> tuple[list[Order], list[Refused]]:
    """All valid orders in the order of the file, and the refused rows. Raises ValueError if the header line is wrong."""
    orders: dict[int, Order] = {}
    lines: dict[int, int] = {}
    refused: list[Refused] = []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, restval="")
        if tuple(reader.fieldnames or ()) != FIELDS:
            raise ValueError(f"{path}: the first line must be {','.join(FIELDS)}")
        line = reader.line_num + 1
        for row in reader:
            try:
                order = order_of(row)
                if order.number in orders:
                    raise ValueError(f"order {order.number} exists already, in line {lines[order.number]}")
            except ValueError as error:
                refused.append(Refused(line, str(error)))
            else:
                orders[order.number], lines[order.number] = order, line
            line = reader.line_num + 1  # a quoted field may hold line breaks
    return list(orders.values()), refused


def order_of(row: dict[str | None, str]) -> Order:
    """The order in one row; raises ValueError with the reason if it is invalid."""
    if None in row:
        raise ValueError("too many fields")
    for name in FIELDS:
        if not row[name].strip():
            raise ValueError(f"{name} is missing")
    number, quantity = (whole(name, row[name]) for name in ("order", "quantity"))
    return Order(number, " ".join(row["customer"].split()), row["item"], quantity, money(row["amount"]))


def whole(name: str, text: str) -> int:
    """A positive whole number."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name} is {text!r}, not a positive whole number")
    return int(text)


def money(text: str) -> Decimal:
    """A positive amount, exact to the cent."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"amount is {text!r}, not a number") from None
    if not amount.is_finite() or amount <= 0:
        raise ValueError(f"amount is {text}, not a positive sum of money")
    return amount
