#!/bin/sh
# persist-queue 1.1.0.
# Does: puts an item into a queue of unique items, takes it, finishes it, and puts it again: with UniqueQ, and with UniqueAckQ and `nack`, `ack` or
#   `ack_failed`; then with UniqueAckQ, `ack` and `clear_acked_data()`, with and without a thousand other items in between.
# Expected: an item is unique among those that wait or are worked on, and may come again after that.
# Happens: UniqueQ does so. UniqueAckQ ignores an item that was ever acknowledged, or failed; `put` returns None, and raises nothing.
#   `clear_acked_data()` keeps the last thousand, so whether the item may come again depends on how many others were done since.
# Means: "update customer 7" is done once, and never again; look at what `put` returns, and clear with `keep_latest=0, clear_ack_failed=True`.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'persist-queue==1.1.0'
run_0() {
    "$folder/p/bin/python" - "$folder" <<'END'
import sys
import persistqueue
def again(name, queue, finish):
    queue.put("customer 7")
    finish(queue, queue.get(block=False))
    print(name, "put:", queue.put("customer 7") is not None, "waiting:", queue.size)
again("UniqueQ", persistqueue.UniqueQ(f"{sys.argv[1]}/unique", auto_commit=True), lambda queue, item: queue.task_done())
for way in ("nack", "ack", "ack_failed"):
    again(f"UniqueAckQ {way}", persistqueue.UniqueAckQ(f"{sys.argv[1]}/{way}"), lambda queue, item: getattr(queue, way)(item))
for others in (0, 1_000):
    queue = persistqueue.UniqueAckQ(f"{sys.argv[1]}/{others}")
    for item in ("customer 7", *range(others)):
        queue.put(item)
        queue.ack(queue.get(block=False))
    queue.clear_acked_data()
    print("cleared after", others, "others, put:", queue.put("customer 7") is not None, "waiting:", queue.size)
END
}
seen=$(run_0)
expected=$(cat <<'END'
UniqueQ put: True waiting: 1
UniqueAckQ nack put: False waiting: 1
UniqueAckQ ack put: False waiting: 0
UniqueAckQ ack_failed put: False waiting: 0
cleared after 0 others, put: False waiting: 0
cleared after 1000 others, put: True waiting: 1
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: persist-queue-again"
else
    printf 'CHANGED: persist-queue-again\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
