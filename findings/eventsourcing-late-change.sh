#!/bin/sh
# eventsourcing 9.5.6, with its SQLite module.
# Does: calls a decorated command of an aggregate twice with one list, changes the list after each call, saves the aggregate, and reads it back.
# Expected: the events that were triggered, as the aggregate in memory has them; both were decided, and applied, before the list changed.
# Happens: an event keeps the caller's list and is written at save(), so both are stored as the list is then: what is read back differs from
# what was saved.
# Means: the stored history tells what never happened, if a caller uses a list or dict again before it saves; give each command a value of its own.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'eventsourcing==9.5.6'
run_0() {
    "$folder/p/bin/python" - <<'END'
import tempfile
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
class Basket(Aggregate):
    def __init__(self):
        self.lines = ()
    @event("Added")
    def add(self, items):
        self.lines = (*self.lines, *items)
with tempfile.TemporaryDirectory() as folder:
    app = Application(env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": f"{folder}/events.db"})
    basket, items = Basket(), ["apple"]
    basket.add(items)
    items.append("pear")
    basket.add(items)
    items[:] = ["plum"]
    print("in memory:", basket.lines)
    app.save(basket)
    print("read back:", app.repository.get(basket.id).lines)
    print("in memory:", basket.lines)
    app.close()
END
}
seen=$(run_0)
expected=$(cat <<'END'
in memory: ('apple', 'apple', 'pear')
read back: ('plum', 'plum')
in memory: ('apple', 'apple', 'pear')
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: eventsourcing-late-change"
else
    printf 'CHANGED: eventsourcing-late-change\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
