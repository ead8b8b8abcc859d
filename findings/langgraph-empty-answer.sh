#!/bin/sh
# langgraph 1.2.24.
# Does: resumes a run that waits at `interrupt()` with False, 0, "", [], a dictionary, and an empty dictionary.
# Expected: `interrupt()` returns each of them, or the call raises an error.
# Happens: the empty dictionary is no answer: the call succeeds, and the run waits at the same place.
# Means: a form that is sent back without entries is lost, and a loop "ask until answered" does not end; put answers under a key of your own.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'langgraph==1.2.24'
run_0() {
    "$folder/p/bin/python" - <<'END'
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.types import Command, interrupt
saver = InMemorySaver()
@entrypoint(checkpointer=saver)
def review(_: int) -> str:
    return f"answered {interrupt('which lines to change?')!r}"
for number, answer in enumerate((False, 0, "", [], {"lines": {}}, {})):
    thread = {"configurable": {"thread_id": str(number)}}
    review.invoke(1, thread)
    result = review.invoke(Command(resume=answer), thread)
    print(repr(answer), result if isinstance(result, str) else f"asks again: {result['__interrupt__'][0].value}")
END
}
seen=$(run_0)
expected=$(cat <<'END'
False answered False
0 answered 0
'' answered ''
[] answered []
{'lines': {}} answered {'lines': {}}
{} asks again: which lines to change?
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: langgraph-empty-answer"
else
    printf 'CHANGED: langgraph-empty-answer\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
