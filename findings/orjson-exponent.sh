#!/bin/sh
# orjson 3.11.4 and 3.12.0.
# Does: writes the same floats as JSON text.
# Expected: the same text in both, as the value is the same.
# Happens: 1e16 is written as `1e16` up to 3.11.4, and as `1e+16` from 3.12.0 on; both read back equal.
# Means: a digest over the text of a payload (an idempotency key, "same input as before?") changes with an update of the package.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/old"
"$PYTHON" -m pip --python "$folder/old/bin/python" install --quiet --disable-pip-version-check 'orjson==3.11.4'
"$PYTHON" -m venv --without-pip "$folder/new"
"$PYTHON" -m pip --python "$folder/new/bin/python" install --quiet --disable-pip-version-check 'orjson==3.12.0'
run_0() {
    "$folder/old/bin/python" - <<'END'
import orjson
print(orjson.__version__, orjson.dumps([1e15, 1e16, 1.5e300]).decode())
END
}
run_1() {
    "$folder/new/bin/python" - <<'END'
import orjson
print(orjson.__version__, orjson.dumps([1e15, 1e16, 1.5e300]).decode())
END
}
seen=$(run_0; run_1)
expected=$(cat <<'END'
3.11.4 [1000000000000000.0,1e16,1.5e300]
3.12.0 [1000000000000000.0,1e+16,1.5e+300]
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: orjson-exponent"
else
    printf 'CHANGED: orjson-exponent\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
