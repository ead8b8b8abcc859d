#!/bin/sh
# pendulum 3.3.0 and jsonpickle 4.1.4.
# Does: stores the second 02:30 of the day with two of them (Europe/Berlin, 2026-10-25), as datetime and as pendulum's DateTime, and reads it back.
# Expected: the same instant, as pickle and copy keep it for datetime; or a value that is not equal.
# Happens: pendulum's DateTime comes out of pickle and copy an hour earlier, datetime out of jsonpickle as well, and `==` holds for each.
# Means: a deadline moves by an hour when a run is stored, and a test that compares values does not see it; store UTC or the ISO text.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check \
    'pendulum==3.3.0' 'jsonpickle==4.1.4' 'tzdata==2026.3'
run_0() {
    "$folder/p/bin/python" - <<'END'
import copy
import pickle
from datetime import datetime
from zoneinfo import ZoneInfo
import jsonpickle
import pendulum
WAYS = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "jsonpickle": lambda value: jsonpickle.decode(jsonpickle.encode(value, keys=True), keys=True),
}
for value in (
    datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    pendulum.datetime(2026, 10, 25, 2, 30, tz="Europe/Berlin", fold=1),
):
    print(type(value).__name__, value.isoformat())
    for name, way in WAYS.items():
        print(name, way(value).isoformat(), way(value) == value)
END
}
seen=$(run_0)
expected=$(cat <<'END'
datetime 2026-10-25T02:30:00+01:00
pickle 2026-10-25T02:30:00+01:00 True
copy 2026-10-25T02:30:00+01:00 True
deepcopy 2026-10-25T02:30:00+01:00 True
jsonpickle 2026-10-25T02:30:00+02:00 True
DateTime 2026-10-25T02:30:00+01:00
pickle 2026-10-25T02:30:00+02:00 True
copy 2026-10-25T02:30:00+02:00 True
deepcopy 2026-10-25T02:30:00+01:00 True
jsonpickle 2026-10-25T02:30:00+02:00 True
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: pendulum-repeated-hour"
else
    printf 'CHANGED: pendulum-repeated-hour\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
