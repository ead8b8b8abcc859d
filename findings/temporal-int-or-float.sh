#!/bin/sh
# temporalio 1.35.0.
# Does: writes a dataclass with fields `int | float`, `float | int` and `float` with the default converter, and reads it back with its type.
# Expected: the numbers that were written, or an error for a number that does not fit.
# Happens: the first number type of the union is taken, also where it changes the value: `int | float` makes 1 of 1.5 and 0 of 0.1.
# Means: an activity gets another amount than the workflow sent, and no error; write such a field as `float`, which takes whole numbers too.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'temporalio==1.35.0'
run_0() {
    "$folder/p/bin/python" - <<'END'
from dataclasses import dataclass
from temporalio.converter import DataConverter
@dataclass
class Line:
    price: int | float
    rate: float | int
    share: float
converter = DataConverter.default.payload_converter
for line in (Line(1.5, 2, 3), Line(0.1, 0.1, 0.1), Line(-1.5, True, 1)):
    payloads = converter.to_payloads([line])
    print(payloads[0].data.decode(), *converter.from_payloads(payloads, [Line]))
for hint in (int | float, int | None | float, float | int):
    print(hint, *converter.from_payloads(converter.to_payloads([1.5]), [hint]))
END
}
seen=$(run_0)
expected=$(cat <<'END'
{"price":1.5,"rate":2,"share":3} Line(price=1, rate=2.0, share=3.0)
{"price":0.1,"rate":0.1,"share":0.1} Line(price=0, rate=0.1, share=0.1)
{"price":-1.5,"rate":true,"share":1} Line(price=-1, rate=1.0, share=1.0)
int | float 1
int | None | float 1
float | int 1.5
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: temporal-int-or-float"
else
    printf 'CHANGED: temporal-int-or-float\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
