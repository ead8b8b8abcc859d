"""A loop of your own: your table stores the position, your lock protects it; stepflow only computes the next one."""

import json
import sqlite3

from attrs import define

from stepflow import named


@define
class Ticket:
    """The exchange: the row of the table, or any other object that your steps need."""

    number: int
    checks: int
    title: str


def is_answered(ticket: Ticket) -> bool:
    ticket.checks += 1
    return ticket.checks >= 3


ticket_flow = (
    named("ticket.v1", Ticket)
    .do("open", lambda ticket: print(f"  open {ticket.title!r}"))
    .wait_for("answer", is_answered, every=30)
    .do("close", lambda ticket: print(f"  close {ticket.title!r}"))
    .compile()
)

db = sqlite3.connect("tickets.db", isolation_level=None)
db.execute("CREATE TABLE ticket (number INTEGER PRIMARY KEY, checks INTEGER, title TEXT, position TEXT)")
db.execute("INSERT INTO ticket VALUES (7, 0, 'no coffee', '[]')")


def turn(number: int) -> bool:
    """One step: lock, load, apply, store, unlock. True when the flow is finished.

    An error, or the death of the process, rolls back: the stored position is still good, the step will be done again.
    """
    db.execute("BEGIN IMMEDIATE")  # the lock: one process at a time
    with db:
        *fields, stored = db.execute("SELECT * FROM ticket WHERE number = ?", (number,)).fetchone()
        ticket = Ticket(*fields)
        position = ticket_flow.apply(json.loads(stored), ticket)
        values = (ticket.checks, json.dumps(position), number)
        db.execute("UPDATE ticket SET checks = ?, position = ? WHERE number = ?", values)
    print(position, "next turn in", ticket_flow.wait_s(position), "s")
    return ticket_flow.is_completed(position)


while not turn(7):
    pass
db.close()
