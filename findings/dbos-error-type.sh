#!/bin/sh
# dbos 3.4.0.
# Does: a workflow fails with an exception whose constructor takes two arguments and passes one text to Exception; its result is read twice.
# Expected: both reads raise the workflow's exception, or one of the library that holds its type and text.
# Happens: the process that ran it raises the exception; read from the database, it is a TypeError about missing arguments.
# Means: `except PaymentRefused` around a stored result works in one process only; give such exceptions a `__reduce__`.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'dbos==3.4.0'
run_0() {
    "$folder/p/bin/python" - <<'END'
import os, sys, tempfile, logging
logging.disable(logging.CRITICAL)
from dbos import DBOS, SetWorkflowID
class PaymentRefused(Exception):
    def __init__(self, code, text):
        self.code = code
        super().__init__(f"{code}: {text}")
folder = tempfile.mkdtemp()
DBOS(config={"name": "shop", "system_database_url": f"sqlite:///{folder}/dbos.sqlite", "log_level": "CRITICAL", "run_admin_server": False})
@DBOS.workflow()
def pay():
    raise PaymentRefused(402, "no money")
DBOS.launch()
def tell(read):
    try:
        read()
    except BaseException as error:
        return type(error).__name__
with SetWorkflowID("one"):
    print(tell(pay))
print(tell(lambda: DBOS.retrieve_workflow("one").get_result()))
sys.stdout.flush()
os._exit(0)
END
}
seen=$(run_0)
expected=$(cat <<'END'
PaymentRefused
TypeError
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: dbos-error-type"
else
    printf 'CHANGED: dbos-error-type\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
