#!/bin/sh
# langgraph 1.2.24 with langgraph-checkpoint-sqlite 3.1.2.
# Does: a task returns a list of outcomes, one of which is an exception (as `asyncio.gather(..., return_exceptions=True)` gives it); the entrypoint
#   counts the exceptions, waits for a person, and is resumed.
# Expected: the same count after the wait, or an error when the value is stored.
# Happens: one before the wait, none after it: the exception came back as the text of its `repr`.
# Means: failures that are values count as successes after a resume; return a value of your own for "failed".
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check \
    'langgraph==1.2.24' 'langgraph-checkpoint-sqlite==3.1.2'
run_0() {
    "$folder/p/bin/python" - <<'END'
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt
@task
def send_all() -> list[object]:
    return ["sent", ConnectionError("no route")]
with SqliteSaver.from_conn_string(":memory:") as saver:
    @entrypoint(checkpointer=saver)
    def send(_: int) -> None:
        outcomes = send_all().result()
        print(sum(isinstance(outcome, Exception) for outcome in outcomes), repr(outcomes[1]))
        interrupt("send the rest?")
    thread = {"configurable": {"thread_id": "one"}}
    send.invoke(1, thread)
    send.invoke(Command(resume=True), thread)
END
}
seen=$(run_0)
expected=$(cat <<'END'
1 ConnectionError('no route')
0 "ConnectionError('no route')"
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: langgraph-error-value"
else
    printf 'CHANGED: langgraph-error-value\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
