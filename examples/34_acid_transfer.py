"""Money transfer with ACID: debit, credit and the record of the step are one transaction; a crash between them leaves none of them"""

import os
import signal
import sqlite3
import subprocess
import sys

from attrs import frozen

from stepflow import Context, Engine, workflow

DOOMED = "doomed" in sys.argv
MOVE = "UPDATE accounts SET cents = cents + ? WHERE name = ?"


@frozen
class Transfer:
    source: str
    target: str
    cents: int


def book(connection: sqlite3.Connection, order: Transfer) -> str:
    connection.execute(MOVE, (-order.cents, order.source))
    print(f"  debit {order.source}", flush=True)
    if DOOMED:
        os.kill(os.getpid(), signal.SIGKILL)  # no cleanup
    if connection.execute(MOVE, (order.cents, order.target)).rowcount == 0:
        raise LookupError(f"there is no account {order.target!r}")
    print(f"  credit {order.target}", flush=True)
    return f"{order.cents} cents from {order.source} to {order.target}"


@workflow("transfer/v1")
def transfer(wf: Context, order: Transfer) -> str:
    try:
        return wf.transaction("book", book, order)
    except LookupError as error:
        return f"refused: {error}"


def pay(key: str, target: str) -> str:
    with Engine("sqlite:///bank.db") as engine:  # the accounts and the runs are in the same file
        engine.register(transfer)
        run = engine.start(transfer, Transfer("ada", target, 30), id=key)  # the same id returns the same run
        engine.run_until_idle()
        return run.result()


if DOOMED:
    pay("rent", "bob")
bank = sqlite3.connect("bank.db", isolation_level=None)
bank.execute("CREATE TABLE accounts (name TEXT PRIMARY KEY, cents INTEGER)")
bank.execute("INSERT INTO accounts VALUES ('ada', 100), ('bob', 0)")
died = subprocess.run([sys.executable, __file__, "doomed"], check=False)
print(f"ended with signal {signal.Signals(-died.returncode).name}:", bank.execute("SELECT * FROM accounts").fetchall())
print(f"{pay('rent', 'bob')}:", bank.execute("SELECT * FROM accounts").fetchall())
print(f"{pay('gift', 'eve')}:", bank.execute("SELECT * FROM accounts").fetchall())
