"""Makes the stores whose journals have rows without a time. The files in `written_by_f288651` were made by commit f288651:

    git worktree add /srv/old f288651
    cd / && PYTHONPATH=/srv/old:/srv/new python -m tests.compatibility.make_journals /srv/new/tests/compatibility/written_by_f288651

where /srv/new is a checkout with this file, as for `make_stores`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from stepflow import Engine
from stepflow.testing import VirtualClock
from tests.compatibility import workflows
from tests.compatibility.stores import FILES, pack, url_in
from tests.compatibility.workflows import PAUSE, shop
from tests.postgres.server import Server

START = datetime(2025, 1, 6, 9, tzinfo=UTC)


def write(url: str) -> None:
    """One run that is completed, one that waits, one that sleeps, and one whose call is tried again."""
    with Engine(url, clock=VirtualClock(START)) as engine:
        engine.register(shop)
        for number, name in enumerate(("completed", "waiting")):
            engine.start(shop, number, id=name)
        engine.run_until_idle()
    with Engine(url, clock=VirtualClock(START + PAUSE)) as engine:
        engine.register(shop)
        engine.get("completed").publish("approved", "Ada", id="1")
        engine.run_until_idle()
        engine.start(shop, 2, id="sleeping")
        engine.run_until_idle()
        workflows.broken.add("pay")
        engine.start(shop, 3, id="retrying")
        engine.run_until_idle()


def main(target: Path) -> None:
    target.mkdir(exist_ok=True)
    for kind in ("sqlite", "rocksdb"):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            write(url_in(kind, folder))
            workflows.broken.clear()
            for log in folder.glob("runs/LOG*"):  # informational, and full of paths
                log.unlink()
            pack(folder, target / FILES[kind])
    server = Server(16)
    try:
        write(f"{server.uri}&shards=3")
        dump = [server._server.bin_path / "pg_dump", "--no-owner", "--inserts", "--rows-per-insert=100", server.uri]
        script = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
        (target / FILES["postgres"]).write_text(re.sub(r"(?m)^\\(un)?restrict .*\n", "", script), "utf-8")
    finally:
        server.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
