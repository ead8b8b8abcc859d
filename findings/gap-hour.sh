#!/bin/sh
# APScheduler 3.11.3, cron-converter 2.0.2, cronsim 2.8 and croniter 7.0.0.
# Does: asks each when a daily job fires on a day without its time: `30 2 * * *` (Europe/Berlin, 2026-03-29) and `0 0 * * *`
#   (America/Santiago, 2026-09-06); then cronsim and croniter when `*/20 2 * * *` and `0,20,40 2 * * *` fire on the first of these days.
# Expected: one rule per library, and one answer for two spellings of the same minutes.
# Happens: APScheduler answers 02:30+01:00, which no clock in Berlin shows (it is 03:30 there), but leaves out the day of Santiago; cron-converter
#   answers such a time as well; cronsim and croniter answer the end of the gap. cronsim fires `0,20,40` once that day, and `*/20` not at all.
# Means: whether a nightly job runs that day depends on the library, the zone and the spelling; state the rule and test it over the transitions.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'APScheduler==3.11.3' 'cron-converter==2.0.2' 'cronsim==2.8' 'croniter==7.0.0' tzdata
run_0() {
    "$folder/p/bin/python" - <<'END'
from datetime import datetime
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from cron_converter import Cron
from croniter import croniter
from cronsim import CronSim

LIBRARIES = {
    "APScheduler": lambda cron, at: CronTrigger.from_crontab(cron, timezone=at.tzinfo).get_next_fire_time(None, at),
    "cron-converter": lambda cron, at: Cron(cron).schedule(at).next(),
    "cronsim": lambda cron, at: next(CronSim(cron, at)),
    "croniter": lambda cron, at: croniter(cron, at).get_next(datetime),
}
for cron, zone, month, day in (("30 2 * * *", "Europe/Berlin", 3, 28), ("0 0 * * *", "America/Santiago", 9, 5)):
    for name, ask in LIBRARIES.items():
        print(zone, name, ask(cron, datetime(2026, month, day, 12, tzinfo=ZoneInfo(zone))).isoformat())
for cron in ("*/20 2 * * *", "0,20,40 2 * * *"):
    for name in ("cronsim", "croniter"):
        print(cron, name, LIBRARIES[name](cron, datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("Europe/Berlin"))).isoformat())
END
}
seen=$(run_0)
expected=$(cat <<'END'
Europe/Berlin APScheduler 2026-03-29T02:30:00+01:00
Europe/Berlin cron-converter 2026-03-29T02:30:00+01:00
Europe/Berlin cronsim 2026-03-29T03:00:00+02:00
Europe/Berlin croniter 2026-03-29T03:00:00+02:00
America/Santiago APScheduler 2026-09-07T00:00:00-03:00
America/Santiago cron-converter 2026-09-06T00:00:00-04:00
America/Santiago cronsim 2026-09-06T01:00:00-03:00
America/Santiago croniter 2026-09-06T01:00:00-03:00
*/20 2 * * * cronsim 2026-03-30T02:00:00+02:00
*/20 2 * * * croniter 2026-03-29T03:00:00+02:00
0,20,40 2 * * * cronsim 2026-03-29T03:00:00+02:00
0,20,40 2 * * * croniter 2026-03-29T03:00:00+02:00
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: gap-hour"
else
    printf 'CHANGED: gap-hour\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
