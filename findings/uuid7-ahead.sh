#!/bin/sh
# uuid6 2025.0.1 and uuid_utils 1.2.0.
# Does: makes 100,000 ids of version 7 in a row, and one more in another process after that.
# Expected: ids in order, whose first 48 bits are about the time at which they were made.
# Happens: uuid6 adds a millisecond for each id that the clock has none for: the time in the ids is more than a minute ahead after a second or two.
# Means: a burst of ids sorts after the ids that other workers make in the next minutes, and an age taken from an id is negative.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'uuid6==2025.0.1' 'uuid_utils==1.2.0'
run_0() {
    "$folder/p/bin/python" - <<'END'
import subprocess
import sys
import time
import uuid6
import uuid_utils
for make in (uuid_utils.uuid7, uuid6.uuid7):
    ids = [make() for _ in range(100_000)]
    ahead = (ids[-1].int >> 80) / 1000 - time.time()
    other = subprocess.run(
        [sys.executable, "-c", f"import {make.__module__.split('.')[0]} as m; print(m.uuid7())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    print(make.__module__.split(".")[0], "in order:", ids == sorted(ids), "ahead of the clock by a minute:", ahead > 60, end=" ")
    print("an id made later, elsewhere, is later:", other > str(ids[-1]))
END
}
seen=$(run_0)
expected=$(cat <<'END'
uuid_utils in order: True ahead of the clock by a minute: False an id made later, elsewhere, is later: True
uuid6 in order: True ahead of the clock by a minute: True an id made later, elsewhere, is later: False
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: uuid7-ahead"
else
    printf 'CHANGED: uuid7-ahead\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
