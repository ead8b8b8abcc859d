#!/bin/sh
# python-statemachine 3.2.2.
# Does: leaves a compound state and enters it again through its history state; once in one process, once in a machine built over the stored state.
# Expected: the restored machine does as the first one, or enters the initial state of the compound, or raises an error.
# Happens: it leaves its state and enters none: the model's state is None, and every event after that is ignored without an error.
# Means: a chart over a stored state hangs after a restart; give each history state a default transition (then the default is what is entered).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'python-statemachine==3.2.2'
run_0() {
    "$folder/p/bin/python" - <<'END'
from statemachine import HistoryState, State, StateChart
class Model:
    state = None
class Article(StateChart):
    paused = State(initial=True)
    class work(State.Compound):
        draft = State(initial=True)
        review = State()
        last = HistoryState()
        submit = draft.to(review)
    begin = paused.to(work)
    pause = work.to(paused)
    resume = paused.to(work.last)
first = Model()
article = Article(first)
for event in ("begin", "submit", "pause"):
    article.send(event)
second = Model()
second.state = first.state
for name, model, machine in (("same process", first, article), ("restored", second, Article(second))):
    seen = [model.state]
    for event in ("resume", "pause", "begin"):
        machine.send(event)
        seen.append(model.state if isinstance(model.state, str | None) else sorted(model.state))
    print(name, *seen)
END
}
seen=$(run_0)
expected=$(cat <<'END'
same process paused ['review', 'work'] paused ['draft', 'work']
restored paused None None None
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: statechart-history"
else
    printf 'CHANGED: statechart-history\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
