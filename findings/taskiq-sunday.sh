#!/bin/sh
# taskiq 0.13.0 with pycron 3.3.0, and croniter 7.0.0.
# Does: asks taskiq's scheduler at 09:00 of each day of two weeks, and of 1 January, whether a task is due, for cron lines with Sundays and names;
#   and asks croniter.
# Expected: as cron has it: 0, 7 and `sun` are Sunday, in ranges too, and months have names; or an error for a line that is not understood.
# Happens: `7` and `jan` never fire; `5-7` and `fri-sun` leave out Sunday, `sat-mon` leaves out Sunday and Monday. No line raises an error.
# Means: a weekly job with a line from a crontab never runs, and nothing tells; write Sunday as 0 or `sun`, alone or in a list, months as numbers.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check \
    'taskiq==0.13.0' 'pycron==3.3.0' 'croniter==7.0.0'
run_0() {
    "$folder/p/bin/python" - <<'END'
from datetime import UTC, datetime, timedelta
from croniter import croniter
from taskiq import ScheduledTask
from taskiq.cli.scheduler.run import is_cron_task_now
NINE = [datetime(2026, 12, 7, 9, tzinfo=UTC) + timedelta(days=day) for day in range(14)] + [datetime(2027, 1, 1, 9, tzinfo=UTC)]
for cron in ("0 9 * * 0", "0 9 * * sun", "0 9 * * 7", "0 9 * * 5-7", "0 9 * * fri-sun", "0 9 * * sat-mon", "0 9 1 1 *", "0 9 1 jan *"):
    task = ScheduledTask(task_name="report", labels={}, args=[], kwargs={}, cron=cron)
    for name, due in (
        ("taskiq", lambda at: is_cron_task_now(task.cron, at)),
        ("croniter", lambda at: croniter(cron, at - timedelta(minutes=1)).get_next(datetime) == at),
    ):
        print(cron, name, *dict.fromkeys(at.strftime("%a") for at in NINE if due(at)))
END
}
seen=$(run_0)
expected=$(cat <<'END'
0 9 * * 0 taskiq Sun
0 9 * * 0 croniter Sun
0 9 * * sun taskiq Sun
0 9 * * sun croniter Sun
0 9 * * 7 taskiq
0 9 * * 7 croniter Sun
0 9 * * 5-7 taskiq Fri Sat
0 9 * * 5-7 croniter Fri Sat Sun
0 9 * * fri-sun taskiq Fri Sat
0 9 * * fri-sun croniter Fri Sat Sun
0 9 * * sat-mon taskiq Sat
0 9 * * sat-mon croniter Mon Sat Sun
0 9 1 1 * taskiq Fri
0 9 1 1 * croniter Fri
0 9 1 jan * taskiq
0 9 1 jan * croniter Fri
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: taskiq-sunday"
else
    printf 'CHANGED: taskiq-sunday\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
