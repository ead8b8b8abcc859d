#!/bin/sh
# rocksdict 0.3.29.
# Does: stores integer and float keys, and reads them in the order of the store.
# Expected: numbers in the order of numbers, or, as for any bytes, in the order of their encoding; the same for both types.
# Happens: integers come in the order of numbers, negative ones and those beyond 64 bits too; floats do not.
# Means: a range scan over times or priorities is right with integer keys only.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'rocksdict==0.3.29'
run_0() {
    "$folder/p/bin/python" - <<'END'
import os, tempfile
from rocksdict import Rdict
with tempfile.TemporaryDirectory() as folder:
    for name, keys in (("integers", [3, -5, 2**70, 0, -(2**70), 40]), ("floats", [2.5, -1.0, 1e300, 0.0, -3.5])):
        store = Rdict(os.path.join(folder, name))
        for key in keys:
            store[key] = 1
        found = list(store.keys())
        store.close()
        print(name, found == sorted(keys))
END
}
seen=$(run_0)
expected=$(cat <<'END'
integers True
floats False
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: rocksdict-key-order"
else
    printf 'CHANGED: rocksdict-key-order\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
