"""The numbers that a memory store gives out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from attrs import define, field


@define
class Counters:
    """What all namespaces of a store share."""

    epochs: Iterator[int] = field(factory=lambda: count(1))
    seqs: Iterator[int] = field(factory=lambda: count(1))
    journal: Iterator[int] = field(factory=lambda: count(1))
    head: int = 0
