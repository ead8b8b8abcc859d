#!/bin/sh
# cronsim 2.8.
# Does: asks for the next time of `30 1 * * *`, `0 2 * * *` and `45 1 * * *` after 01:40 in the second one of the two hours 01:xx.
# Expected: times after the start.
# Happens: for `45 1 * * *` the first answer is the 01:45 of the first hour: 55 minutes before the start.
# Means: a scheduler that sleeps until the next time fires at once, and again, when it is restarted in that hour.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'cronsim==2.8'
run_0() {
    "$folder/p/bin/python" - <<'END'
from datetime import datetime, timezone
from zoneinfo import ZoneInfo
from cronsim import CronSim
start = datetime(2026, 11, 1, 1, 40, fold=1, tzinfo=ZoneInfo("America/New_York"))
for line in ("30 1 * * *", "45 1 * * *", "0 2 * * *"):
    found = next(CronSim(line, start))
    print(line, (found.astimezone(timezone.utc) - start.astimezone(timezone.utc)).total_seconds() / 60)
END
}
seen=$(run_0)
expected=$(cat <<'END'
30 1 * * * 1430.0
45 1 * * * -55.0
0 2 * * * 20.0
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: cronsim-before-start"
else
    printf 'CHANGED: cronsim-before-start\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
