#!/bin/sh
# croniter 7.0.0, cronsim 2.8 and APScheduler 3.11.3.
# Does: asks each when `30 1 * * *` fires on the day whose 01:30 occurs twice (America/New_York, 2026-11-01).
# Expected: one rule for the doubled hour: the job of a day runs once, or at each occurrence of 01:30.
# Happens: croniter and APScheduler fire twice that day, an hour apart; cronsim fires once.
# Means: to change the library changes how often a nightly job runs; state the rule and test it over the transitions.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'croniter==7.0.0' 'cronsim==2.8' 'APScheduler==3.11.3'
run_0() {
    "$folder/p/bin/python" - <<'END'
from datetime import datetime, timezone
from zoneinfo import ZoneInfo
from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
from cronsim import CronSim
zone = ZoneInfo("America/New_York")
start = datetime(2026, 10, 31, 12, 0, tzinfo=zone)
def day(times):
    return [time.astimezone(timezone.utc).strftime("%H:%M") for time in times if time.astimezone(zone).date().isoformat() == "2026-11-01"]
one = croniter("30 1 * * *", start)
print("croniter", day(one.get_next(datetime) for _ in range(3)))
two = CronSim("30 1 * * *", start)
print("cronsim", day(next(two) for _ in range(3)))
trigger, times, last, now = CronTrigger.from_crontab("30 1 * * *", timezone=zone), [], None, start
for _ in range(3):
    last = trigger.get_next_fire_time(last, now)
    times.append(last)
    now = last
print("APScheduler", day(times))
END
}
seen=$(run_0)
expected=$(cat <<'END'
croniter ['05:30', '06:30']
cronsim ['05:30']
APScheduler ['05:30', '06:30']
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: overlap-hour"
else
    printf 'CHANGED: overlap-hour\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
