"""A model that a process of the tests can import in no time."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

from pydantic import BaseModel, computed_field


class Colour(Enum):
    """An enum."""

    RED = "red"


class Line(BaseModel):
    """A part of an order."""

    name: str
    price: Decimal = Decimal(0)


class Order(BaseModel):
    """Most kinds of fields."""

    number: int
    lines: list[Line] = []
    at: datetime | None = None
    day: date | None = None
    key: UUID | None = None
    colour: Colour = Colour.RED
    tags: set[str] = set()
    by_number: dict[int, Line] = {}
    pair: tuple[int, str] | None = None
    share: float = 0.5

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> Decimal:
        """Not stored."""
        return sum((line.price for line in self.lines), Decimal(0))
