#!/bin/sh
# pydantic 2.14.4 with isodate 0.7.2, pendulum 3.3.0 and msgspec 0.23.0.
# Does: writes a timedelta of 400 days as JSON with pydantic, and adds what isodate and pendulum read from that text to 1 January of three years.
# Expected: a text of days (a timedelta knows neither months nor years), which each reader takes for 400 days; msgspec writes one.
# Happens: pydantic writes 365 days as one year, `P1Y35D`. It reads that as 400 days; isodate and pendulum add a year of the calendar,
#   which is 401 days from 2028 on; msgspec refuses years.
# Means: a period of a year or more in a model is another one for a program that reads the JSON with something else; declare
#   `ser_json_timedelta="float"`, or store seconds.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check \
    'pydantic==2.14.4' 'isodate==0.7.2' 'pendulum==3.3.0' 'msgspec==0.23.0'
run_0() {
    "$folder/p/bin/python" - <<'END'
from datetime import datetime, timedelta
import isodate, msgspec, pendulum
from pydantic import BaseModel, ConfigDict, TypeAdapter
KEPT = timedelta(days=400)
class Seconds(BaseModel):
    model_config = ConfigDict(ser_json_timedelta="float")
    kept: timedelta
written = TypeAdapter(timedelta).dump_json(KEPT)
text = written.decode().strip('"')
print("written by pydantic", text, "by msgspec", msgspec.json.encode(KEPT).decode())
print("read by pydantic", TypeAdapter(timedelta).validate_json(written).days)
for year in (2026, 2027, 2028):
    start, other = datetime(year, 1, 1), pendulum.naive(year, 1, 1)
    print(year, "isodate", (start + isodate.parse_duration(text) - start).days, "pendulum", (other + pendulum.parse(text) - other).days)
try:
    msgspec.json.decode(written, type=timedelta)
except msgspec.ValidationError as refused:
    print("msgspec", refused)
print(Seconds(kept=KEPT).model_dump_json())
END
}
seen=$(run_0)
expected=$(cat <<'END'
written by pydantic P1Y35D by msgspec "P400D"
read by pydantic 400
2026 isodate 400 pendulum 400
2027 isodate 400 pendulum 400
2028 isodate 401 pendulum 401
msgspec Only units 'D', 'H', 'M', and 'S' are supported when parsing ISO8601 durations
{"kept":34560000.0}
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: pydantic-duration-year"
else
    printf 'CHANGED: pydantic-duration-year\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
