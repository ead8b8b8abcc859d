#!/bin/sh
# pendulum 3.3.0 and jsonpickle 4.1.4.
# Does: stores spans of calendar months and years with pickle, copy and jsonpickle, reads them back, and adds each to 31 January 2026.
# Expected: the same span, as deepcopy gives it: a month after that day is 28 February; or a span that is not equal.
# Happens: pickle, copy.copy and jsonpickle make days of months and years (30 and 365), and `==` holds between the two.
# Means: a period of billing that was one month when a run began is 30 days after a restart, and no comparison sees it; store the numbers of
# years, months and days, or the ISO text.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'pendulum==3.3.0' 'jsonpickle==4.1.4'
run_0() {
    "$folder/p/bin/python" - <<'END'
import copy, pickle
import jsonpickle
from pendulum import date, duration
ways = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda span: pickle.loads(pickle.dumps(span)),
    "jsonpickle": lambda span: jsonpickle.decode(jsonpickle.encode(span, keys=True), keys=True),
}
for span in (duration(months=1), duration(years=4), duration(months=1, days=2), duration(weeks=1)):
    for how, again in ways.items():
        restored = again(span)
        print(how, span, restored, restored == span, date(2026, 1, 31) + restored)
END
}
seen=$(run_0)
expected=$(cat <<'END'
deepcopy 1 month 1 month True 2026-02-28
copy 1 month 4 weeks 2 days True 2026-03-02
pickle 1 month 4 weeks 2 days True 2026-03-02
jsonpickle 1 month 4 weeks 2 days True 2026-03-02
deepcopy 4 years 4 years True 2030-01-31
copy 4 years 208 weeks 4 days True 2030-01-30
pickle 4 years 208 weeks 4 days True 2030-01-30
jsonpickle 4 years 208 weeks 4 days True 2030-01-30
deepcopy 1 month 2 days 1 month 2 days True 2026-03-02
copy 1 month 2 days 4 weeks 4 days True 2026-03-04
pickle 1 month 2 days 4 weeks 4 days True 2026-03-04
jsonpickle 1 month 2 days 4 weeks 4 days True 2026-03-04
deepcopy 1 week 1 week True 2026-02-07
copy 1 week 1 week True 2026-02-07
pickle 1 week 1 week True 2026-02-07
jsonpickle 1 week 1 week True 2026-02-07
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: pendulum-month-span"
else
    printf 'CHANGED: pendulum-month-span\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
