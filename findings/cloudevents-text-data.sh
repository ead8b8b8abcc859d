#!/bin/sh
# cloudevents 2.2.0.
# Does: sends events whose data is a text, with the content type application/json, in structured and in binary mode, and reads them again.
# Expected: the same text in both modes.
# Happens: in structured mode so. In binary mode (HTTP, Kafka and RabbitMQ alike) the text goes out without quotes, and is read as JSON if it can be:
#   "7e12" is 7000000000000.0, "42" is a number, "0042" a text, and "null" and "" are None.
# Means: an id changes its type or value by its look and by the mode of the sender; put it into a dictionary, or use text/plain.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check 'cloudevents==2.2.0'
run_0() {
    "$folder/p/bin/python" - <<'END'
from cloudevents.core.bindings import http, kafka, rabbitmq
from cloudevents.core.v1.event import CloudEvent
WAYS = {
    "structured": (http.to_structured_event, http.from_http_event),
    "binary": (http.to_binary_event, http.from_http_event),
    "Kafka": (kafka.to_binary_event, kafka.from_kafka_event),
    "RabbitMQ": (rabbitmq.to_binary_event, rabbitmq.from_rabbitmq_event),
}
for data in ("a7", "0042", "42", "7e12", "null", "", {"id": "7e12"}):
    event = CloudEvent({"source": "/shop", "type": "paid", "datacontenttype": "application/json"}, data)
    print(repr(data), *(f"{name} {read(write(event)).get_data()!r}" for name, (write, read) in WAYS.items()), sep=", ")
END
}
seen=$(run_0)
expected=$(cat <<'END'
'a7', structured 'a7', binary 'a7', Kafka 'a7', RabbitMQ 'a7'
'0042', structured '0042', binary '0042', Kafka '0042', RabbitMQ '0042'
'42', structured '42', binary 42, Kafka 42, RabbitMQ 42
'7e12', structured '7e12', binary 7000000000000.0, Kafka 7000000000000.0, RabbitMQ 7000000000000.0
'null', structured 'null', binary None, Kafka None, RabbitMQ None
'', structured '', binary None, Kafka None, RabbitMQ None
{'id': '7e12'}, structured {'id': '7e12'}, binary {'id': '7e12'}, Kafka {'id': '7e12'}, RabbitMQ {'id': '7e12'}
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: cloudevents-text-data"
else
    printf 'CHANGED: cloudevents-text-data\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
