"""Serves the game: python examples/realtime_game/play.py, then open the address that it prints in two tabs.

Kill it at any time, and start it again: the games go on.
"""

from __future__ import annotations

import argparse

import uvicorn
from go_site import site


def main() -> None:
    parser = argparse.ArgumentParser(prog="play", description="Go on 9x9 points for two players in two browser tabs.")
    parser.add_argument("--store", default="sqlite:///go.db", help="URL of the store; default: %(default)s")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: %(default)s")
    parser.add_argument("--port", type=int, default=8090, help="default: %(default)s")
    given = parser.parse_args()
    # Streams of boards have no end: they are not waited for.
    uvicorn.run(site(given.store), host=given.host, port=given.port, timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
