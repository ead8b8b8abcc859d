#!/bin/sh
# sseclient-py 1.9.0, httpx-sse 0.4.3 and aiosseclient 0.1.8.
# Does: reads a stream whose last event is cut, as a server that restarts leaves it: `data: 15` of `data: 1500`, and no empty line.
# Expected: the cut event is dropped, as an event ends with an empty line.
# Happens: httpx-sse and aiosseclient drop it. sseclient-py gives it, with its id, and no error tells of the cut.
# Means: 15 is taken for 1500, and the next request, with this id as Last-Event-ID, asks for what came after, so the whole event never comes; send
#   objects as JSON, which do not parse when cut, and keep an id only once its data was read.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --without-pip "$folder/p"
"$PYTHON" -m pip --python "$folder/p/bin/python" install --quiet --disable-pip-version-check \
    'sseclient-py==1.9.0' 'requests==2.34.2' 'httpx-sse==0.4.3' 'httpx==0.28.1' 'aiosseclient==0.1.8'
run_0() {
    "$folder/p/bin/python" - <<'END'
import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import httpx
import httpx_sse
import requests
import sseclient
from aiosseclient import aiosseclient
class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"id: 41\ndata: 700\n\nid: 42\ndata: 15")
    def log_message(self, *args):
        pass
def by_sseclient():
    with requests.get(url, stream=True, timeout=10) as response:
        return [(event.id, event.data) for event in sseclient.SSEClient(response).events()]
def by_httpx_sse():
    with httpx.Client() as client, httpx_sse.connect_sse(client, "GET", url) as source:
        return [(event.id, event.data) for event in source.iter_sse()]
async def by_aiosseclient():
    return [(event.id, event.data) async for event in aiosseclient(url)]
with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
    url = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("sseclient-py", by_sseclient())
    print("httpx-sse", by_httpx_sse())
    print("aiosseclient", asyncio.run(by_aiosseclient()))
    server.shutdown()
END
}
seen=$(run_0)
expected=$(cat <<'END'
sseclient-py [('41', '700'), ('42', '15')]
httpx-sse [('41', '700')]
aiosseclient [('41', '700')]
END
)
if [ "$seen" = "$expected" ]; then
    echo "as written: sse-cut-event"
else
    printf 'CHANGED: sse-cut-event\nexpected:\n%s\nseen:\n%s\n' "$expected" "$seen"
    exit 1
fi
