"""One row of the table: what is measured, by which probe, on which store, at which size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen


@frozen
class Fill:
    """What a store holds before the sample begins: `rows` of a kind that `tests.bench.fill` knows."""

    kind: str
    rows: int


@frozen
class Row:
    """One line of the table. `probe` is `module:function` below `tests.bench`; its parameters are `size` and `how`.

    `runs` is the number of runs at scale 1. `needs` are the distributions that must be installed. A row with a `store`
    gets a `place` for it: an empty one, or a copy of a filled one; if `shared`, the filled one itself, which the probe
    leaves as it found it. Rows that are `long` are measured only when they are asked for. A row that is `paced` gets a
    `rate`: this share of what was measured for the other row.
    """

    name: str
    group: str
    label: str
    probe: str
    runs: int
    unit: str = "steps/s"
    how: Mapping[str, Any] = {}
    needs: tuple[str, ...] = ()
    store: str = ""
    fill: Fill | None = None
    shared: bool = False
    long: bool = False
    size: str = "runs"
    paced: tuple[Row, float] | None = None

    @property
    def ours(self) -> bool:
        """Whether it measures stepflow, and not a raw limit or a peer."""
        parts = (self.probe, str(self.how.get("library", "")))
        foreign = any(part.startswith(("raw", "peers.", "inmemory:transitions", "inmemory:state")) for part in parts)
        return not foreign and (self.paced is None or self.paced[0].ours)

    @property
    def less_is_better(self) -> bool:
        """Whether the value is a time, a size or a share of a time."""
        return self.unit in ("ms", "s", "MB", "bytes", "%", "loads")

    def params(self, scale: float) -> dict[str, Any]:
        """The keyword arguments of the probe."""
        named = {"store": self.store} if self.store else {}
        return {self.size: max(2, round(self.runs * scale)), **named, **self.how}
