"""The form in which statements find rows by key: the same plan whatever the planner knows of the tables.

A session plans each statement once. A plan that was made while a table had one row may be kept while it gets a million, and
for one row it costs the same to find rows by key or to read the whole shard and compare. So no statement leaves the choice:

* Rows are found by all columns of a key in a subquery with `offset 0`, which the planner neither merges with the rest of the
  statement nor joins in another order. Inside, only one index that is not partial begins with the shard.
* Rows that are found so are changed by their `ctid`: the only way without a sequential scan, which sessions switch off.
  A condition that another transaction may change in between is repeated on the changed row, where it is checked again.
* A search begins with `order by` the columns of its index, as sessions switch sorting off too.
* On Citus a change names the key instead of the `ctid`: it is planned there anew each time, with the values, and a statement
  whose parts are planned apart must not use a `ctid`. `either` writes down both forms.
* `id = any(array)` is never a condition on the second column of an index: for a small table PostgreSQL 16 reads the shard instead.
"""

from __future__ import annotations


def found(table: str, key: str, columns: str = "x.ctid as at", more: str = "") -> str:
    """A lateral subquery for the rows `x` of a table of the schema that have a `key`; `more` is its locking clause."""
    return f"lateral (select {columns} from stepflow.{table} x where {key} offset 0{more})"  # noqa: S608 - constants


def either(plain: str, citus: str) -> str:
    """A part of a statement that has another form on Citus; `for_schema` chooses."""
    return f"/*plain*/{plain}/*citus {citus}*/"


def located(table: str, key: str = "x.shard = $1 and x.id = u.id") -> str:
    """What follows `from u` where the rows `t` of a table are changed that have this key, written for `x`."""
    return either(f"cross join {found(table, key)} x where t.ctid = x.at", f"where {key.replace('x.', 't.')}")


def held_by(owner: str, columns: str) -> str:
    """The queue rows `q` of shard $1 that this owner, a parameter, holds. A range, as `order by` a constant says nothing."""
    return (
        f"(select {columns} from stepflow.queue x where x.shard = $1"  # noqa: S608 - constants
        f" and x.partition = 3 and x.owner >= {owner} and x.owner <= {owner} order by x.owner offset 0) q"
    )


def by_id(table: str, columns: str = "x.ctid as at", more: str = "") -> str:
    """The same for the row of shard $1 whose id is `u.id`."""
    return found(table, "x.shard = $1 and x.id = u.id", columns, more)
