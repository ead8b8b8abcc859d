#!/bin/sh
# langgraph-checkpoint-sqlite 3.1.2.
# Does: stores a checkpoint whose channel holds a dataclass with a tuple, and reads it back.
# Expected: the dataclass as it was, or an error when it is stored.
# Happens: the dataclass comes back with a list in place of its tuple, so it is not equal to the one that was stored.
# Means: code that hashes or compares what it left in a state takes another path after a resume than before.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'langgraph-checkpoint-sqlite==3.1.2'
run_0() {
    "$folder/p/bin/python" - <<'END'
import sys, types, logging, warnings
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from dataclasses import dataclass
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver
@dataclass
class Order:
    lines: tuple[int, ...]
module = types.ModuleType("shop")
module.Order, Order.__module__ = Order, "shop"
sys.modules["shop"] = module
with SqliteSaver.from_conn_string(":memory:") as saver:
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"order": Order((1, 2))}
    checkpoint["channel_versions"] = {"order": 1}
    config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    saver.put(config, checkpoint, {}, {"order": 1})
    found = saver.get(config)["channel_values"]["order"]
    print(type(found).__name__, type(found.lines).__name__, found == Order((1, 2)))
END
}
seen=$(run_0)
expected=$(cat <<'END'
Order list False
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: checkpoint-tuple"
else
    printf 'CHANGED: checkpoint-tuple\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
