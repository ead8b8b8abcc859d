#!/bin/sh
# cattrs 26.2.1.
# Does: reads a class with a field that has `init=False`, with include_init_false, from data in which that field has a wrong type.
# Expected: an error, as for a field that the constructor takes.
# Happens: with detailed validation (the default) none; the field has its default, or is not set at all. Without detailed validation: an error.
# Means: stored data that no longer fits a type is dropped without a word, where the converter is used to refuse it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/venv"
"$PYTHON" -m pip --python "$folder/venv/bin/python" install --quiet --disable-pip-version-check 'cattrs==26.2.1'
seen=$("$folder/venv/bin/python" - <<'END'
import attrs
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn


@attrs.define
class Seen:
    count: int = attrs.field(init=False, default=0)


for detailed in (True, False):
    converter = Converter(detailed_validation=detailed)
    read = make_dict_structure_fn(Seen, converter, _cattrs_include_init_false=True, _cattrs_detailed_validation=detailed)
    try:
        print(detailed, read({"count": "many"}, Seen))
    except Exception as error:
        print(detailed, type(error).__name__)
END
)
expected=$(cat <<'END'
True Seen(count=0)
False ValueError
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: cattrs-init-false"
else
    printf 'CHANGED: cattrs-init-false\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
