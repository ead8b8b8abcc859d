"""A server that answers requests of flowstate.v1 as a test says, with the very bytes, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stepflow.wire import flowstate_pb2 as pb

PROTOBUF = "application/proto"
Answer = tuple[int, str, bytes] | None
"""Status, content type and body; None: the connection is closed, as by a handler that panics."""


def said(message: pb.Command) -> Answer:
    """A command as the answer."""
    return 200, PROTOBUF, message.SerializeToString()


def refused(status: int, code: str, text: str) -> Answer:
    """An error as the answer."""
    return status, PROTOBUF, pb.Error(code=code, message=text).SerializeToString()


NOT_THERE: Answer = (404, "text/plain; charset=utf-8", b"404 page not found\n")


class Scripted:
    """`answer(method, command)` answers what is sent to the service; other paths are not there."""

    def __init__(self, answer: Callable[[str, pb.Command], Answer], other: Answer = NOT_THERE) -> None:
        self.asked: list[tuple[str, pb.Command]] = []
        self.others: list[str] = []  # paths
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                service, _slash, method = self.path.rpartition("/")
                found = other
                if service == "/flowstate.v1.Driver":
                    assert self.headers["content-type"] == PROTOBUF
                    script.asked.append((method, pb.Command.FromString(body)))
                    found = answer(method, pb.Command.FromString(body))
                else:
                    script.others.append(self.path)
                if found is None:
                    self.close_connection = True
                    return
                status, kind, raw = found
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        ).start()  # as long it takes to stop

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
