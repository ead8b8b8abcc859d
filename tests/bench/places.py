"""Places for the stores of the samples: files, directories and databases, empty, copied, or filled and shared."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define

from tests.bench.row import Fill, Row
from tests.bench.server import Server

READY = 6400  # at scale 1


@define
class Filled:
    """A store that was filled once: where it is, what its filler told, and how many samples have used it."""

    place: str
    facts: dict[str, Any]
    used: int = 0


class Places:
    """The places below `base`; `fill(params)` fills a store in a process of its own and tells what it did.

    With a `lender` its PostgreSQL server is used.
    """

    def __init__(
        self,
        base: Path,
        fill: Callable[[dict[str, Any]], dict[str, Any]],
        *,
        durable: bool = True,
        lender: Places | None = None,
    ) -> None:
        self._base, self._fill, self._durable, self._lender = base, fill, durable, lender
        self._filled: dict[tuple[str, Fill], Filled] = {}
        self.server: Server | None = None

    def _postgres(self) -> Server:
        if self._lender is not None:
            return self._lender._postgres()
        if self.server is None:
            self.server = Server(self._base, durable=self._durable)
        return self.server

    def close(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None

    @contextmanager
    def of(self, row: Row, scale: float, folder: Path) -> Iterator[dict[str, Any]]:
        """The parameters that tell the probe of a row where its store is, for one sample in `folder`."""
        if row.fill is None:
            with self._temporary(row.store, folder, None) as place:
                yield {"place": place}
            return
        fill = Fill(row.fill.kind, max(2, round(row.fill.rows * scale)))
        filled = self._filled_with(row.store, fill, max(256, round(READY * scale)))
        if row.shared:
            filled.used += 1
            yield {"place": filled.place, "now": filled.facts["now"], "nth": filled.used - 1}
        else:
            with self._temporary(row.store, folder, filled) as place:
                yield {"place": place}

    @contextmanager
    def _temporary(self, store: str, folder: Path, source: Filled | None) -> Iterator[str]:
        if store == "postgres":
            uri = self._postgres().database(source.place if source else "")
            try:
                yield uri
            finally:
                self._postgres().drop(uri)
            return
        path = folder / "store"
        if source is not None and store == "sqlite":
            shutil.copyfile(source.place, path)
        elif source is not None:
            shutil.copytree(source.place, path)
        yield str(path)

    def _filled_with(self, store: str, fill: Fill, ready: int) -> Filled:
        """The store that is filled so, with `ready` runs to claim; made once."""
        if (store, fill) not in self._filled:
            if store == "postgres":
                place = self._postgres().database()
            else:
                place = str(self._base / f"{fill.kind}-{fill.rows}-{store}")
            how = {"kind": fill.kind, "rows": fill.rows, "ready": ready}
            facts = self._fill({"store": store, "place": place, **how})
            self._filled[store, fill] = Filled(place, facts)
        return self._filled[store, fill]
