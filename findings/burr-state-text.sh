#!/bin/sh
# apache-burr 0.43.0.
# Does: runs an action over a state with a set, a tuple, a Decimal, a date and bytes; once at the start, once in an application that is built anew from
#   the state that SQLitePersister stored.
# Expected: the state as it was, with lists in place of what JSON has no form for; or an error when it is stored.
# Happens: each such value comes back as its text: the set {'a17'} is the text "{'a17'}", and there is no error.
# Means: after a restart `in` looks for a part of a text: order "a1" counts as sent because "a17" was; store lists, texts and numbers only.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'apache-burr==0.43.0'
run_0() {
    "$folder/p/bin/python" - "$folder/burr.db" <<'END'
import sys
from datetime import date
from decimal import Decimal
from burr.core import ApplicationBuilder, State, action
from burr.core.persistence import SQLitePersister
@action(reads=["sent"], writes=["told"])
def send(state: State, order: str) -> State:
    return state.update(told="left out" if order in state["sent"] else "sent")
persister = SQLitePersister(db_path=sys.argv[1])
persister.initialize()
def run(name: str) -> None:
    start = {"sent": {"a17"}, "lines": (1, 2), "price": Decimal("1.10"), "day": date(2026, 12, 1), "key": b"k"}
    builder = ApplicationBuilder().with_actions(send).with_transitions(("send", "send")).with_identifiers(app_id="shop")
    builder = builder.with_state_persister(persister)
    application = builder.initialize_from(
        persister, resume_at_next_action=True, default_state=start, default_entrypoint="send"
    ).build()
    _, _, state = application.run(halt_after=["send"], inputs={"order": "a1"})
    print(name, "order a1:", state["told"], *(f"{key}={state[key]!r}" for key in start))
run("at the start,")
run("after a restart,")
END
}
seen=$(run_0)
expected=$(cat <<'END'
at the start, order a1: sent sent={'a17'} lines=(1, 2) price=Decimal('1.10') day=datetime.date(2026, 12, 1) key=b'k'
after a restart, order a1: left out sent="{'a17'}" lines='(1, 2)' price='1.10' day='2026-12-01' key="b'k'"
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: burr-state-text"
else
    printf 'CHANGED: burr-state-text\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
