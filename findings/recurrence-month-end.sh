#!/bin/sh
# aniso8601 10.0.1 and metomi-isodatetime 3.2.0 (epoch 1).
# Does: lists the times of recurring intervals of ISO 8601, monthly ones that begin or end on the 31st, and daily ones.
# Expected: `R2` is the first time and two repetitions; a month is one of the calendar, so that from 31 January on each time is the last day
#   of its month, or there is an error; an interval that is given by its end has that as its last time.
# Happens: `R2` is two times in all, of both. aniso8601 counts a month as 30 days: 31 January, 2 March, 1 April. metomi-isodatetime goes to
#   28 February and stays on the 28th; of an interval that is given by its end, 31 March, that time is not among them: the last is 28 March.
#   aniso8601 gives the times of such an interval backwards.
# Means: a schedule that is handed over in this form runs on other days in each program; write the day of the month as a cron line.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check \
    'aniso8601==10.0.1' 'metomi-isodatetime==1!3.2.0'
run_0() {
    "$folder/p/bin/python" - <<'END'
from itertools import islice
import aniso8601
from metomi.isodatetime.parsers import TimeRecurrenceParser
for text in (
    "R2/2026-12-01T09:00:00Z/P1D", "R2/P1D/2026-12-02T09:00:00Z", "R/2027-01-31T09:00:00Z/P1M", "R3/P1M/2027-03-31T09:00:00Z",
):
    for name, times in (
        ("aniso8601", aniso8601.parse_repeating_interval(text)), ("metomi", TimeRecurrenceParser().parse(text)),
    ):
        print(text, name, *(str(time)[5:10] for time in islice(times, 4)))
END
}
seen=$(run_0)
expected=$(cat <<'END'
R2/2026-12-01T09:00:00Z/P1D aniso8601 12-01 12-02
R2/2026-12-01T09:00:00Z/P1D metomi 12-01 12-02
R2/P1D/2026-12-02T09:00:00Z aniso8601 12-02 12-01
R2/P1D/2026-12-02T09:00:00Z metomi 12-01 12-02
R/2027-01-31T09:00:00Z/P1M aniso8601 01-31 03-02 04-01 05-01
R/2027-01-31T09:00:00Z/P1M metomi 01-31 02-28 03-28 04-28
R3/P1M/2027-03-31T09:00:00Z aniso8601 03-31 03-01 01-30
R3/P1M/2027-03-31T09:00:00Z metomi 01-28 02-28 03-28
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: recurrence-month-end"
else
    printf 'CHANGED: recurrence-month-end\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
