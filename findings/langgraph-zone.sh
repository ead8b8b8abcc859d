#!/bin/sh
# langgraph 1.2.24 with langgraph-checkpoint-sqlite 3.1.2.
# Does: a task returns 23:00 of the day before the clocks change, in the zone Europe/Berlin; the entrypoint adds a day to it, waits for a person, and
#   is resumed.
# Expected: the same hour of the next day, before and after the wait.
# Happens: before the wait the sum has the offset +01:00; after it +02:00, another instant: the zone came back as the fixed offset of the stored day.
# Means: a date that a step returns is right for arithmetic until the first resume only; store UTC or the name of the zone beside it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check \
    'langgraph==1.2.24' 'langgraph-checkpoint-sqlite==3.1.2' 'tzdata==2026.3'
run_0() {
    "$folder/p/bin/python" - <<'END'
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt
@task
def noticed() -> datetime:
    return datetime(2026, 10, 24, 23, 0, tzinfo=ZoneInfo("Europe/Berlin"))
with SqliteSaver.from_conn_string(":memory:") as saver:
    @entrypoint(checkpointer=saver)
    def reminder(_: int) -> None:
        at = noticed().result()
        print((at + timedelta(days=1)).isoformat(), type(at.tzinfo).__name__)
        interrupt("approve?")
    thread = {"configurable": {"thread_id": "one"}}
    reminder.invoke(1, thread)
    reminder.invoke(Command(resume=True), thread)
END
}
seen=$(run_0)
expected=$(cat <<'END'
2026-10-25T23:00:00+01:00 ZoneInfo
2026-10-25T23:00:00+02:00 timezone
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: langgraph-zone"
else
    printf 'CHANGED: langgraph-zone\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
