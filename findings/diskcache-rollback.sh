#!/bin/sh
# diskcache 5.6.3.
# Does: sets or deletes a key within `transact()`, and leaves the block with an error; with a value of 3,000 and one of 300,000 characters.
# Expected: the old value, as the change was rolled back.
# Happens: for the small value so; the big one is in a file, which the change removed at once: the key is there, and `get` gives the default.
# Means: the last good state of a job is lost by the rollback that was to keep it; write big values under a new key, and switch to it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'diskcache==5.6.3'
run_0() {
    "$folder/p/bin/python" - "$folder/cache" <<'END'
import sys
import diskcache
with diskcache.Cache(sys.argv[1]) as cache:
    for size in (1_000, 100_000):
        for name, change in (("set", lambda: cache.set("state", "new" * size)), ("delete", lambda: cache.delete("state"))):
            cache["state"] = "old" * size
            try:
                with cache.transact():
                    change()
                    raise InterruptedError
            except InterruptedError:
                found = cache.get("state", default="nothing")
            print(size * 3, "characters,", name, "rolled back:", found[:3], "state" in cache)
END
}
seen=$(run_0)
expected=$(cat <<'END'
3000 characters, set rolled back: old True
3000 characters, delete rolled back: old True
300000 characters, set rolled back: not True
300000 characters, delete rolled back: not True
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: diskcache-rollback"
else
    printf 'CHANGED: diskcache-rollback\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
