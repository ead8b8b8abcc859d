"""The order pipeline on PostgreSQL: two worker processes share the runs, one is killed, and the other finishes.

python examples/30_orders_on_postgres.py postgresql://user@host/database
"""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orders_flow import Order, order_flow, shop
from orders_input import read_orders

from stepflow import Engine

HERE = Path(__file__).parent
FINISHED = ("completed", "failed", "waiting")


def worker(store: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "stepflow", "worker", "orders_flow", "--store", store]
    to, env = subprocess.PIPE, os.environ | {"PYTHONPATH": path}
    return subprocess.Popen(command, env=env, stdout=to, stderr=subprocess.DEVNULL)


def main(store: str) -> None:
    orders, _refused = read_orders(HERE / "orders.csv")
    workers, owners, finished, tally = [worker(store), worker(store)], set[str](), 0, dict[str, int]()
    for process in workers:
        assert process.stdout is not None
        with process.stdout as says:
            says.readline()  # the worker is ready
    with Engine(store) as engine, ThreadPoolExecutor(32) as pool:  # a client: starts runs and reads their status

        def start(order: Order) -> None:
            engine.start(order_flow, order, id=f"order-{order.number}")

        list(pool.map(start, orders))
        while finished < len(orders):
            time.sleep(0.1)
            owners |= {run.owner for run in engine.runs(status="running", limit=1000)}
            tally = engine.tally()[order_flow.name]
            finished = sum(tally.get(status, 0) for status in FINISHED)
            if len(owners) == 2:
                workers[0].kill()
    for process in workers:
        process.terminate()
    ends = [signal.Signals(-code).name if code < 0 else "in order" for code in (p.wait() for p in workers)]
    print(len(orders), "orders, shared by", len(owners), "workers, which ended:", *ends)
    print(*(f"{tally[status]} {status}" for status in FINISHED), sep=", ")
    print("effects in the ledger, each once:", shop.ledger.summary()[0])
    shop.ledger.close()


if len(sys.argv) != 2:
    sys.exit("give the store: python examples/30_orders_on_postgres.py postgresql://user@host/database")
main(*sys.argv[1:])
