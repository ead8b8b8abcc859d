"""ServingProcess: uvicorn with the order of a shutdown that open pages need, and how the commands run it."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from stepflow.errors import StepflowError

GRACE_S = 30  # for requests, or calls, that are under way when the process is asked to stop
HEAD_BYTES = 384 << 10  # of a request but its body: what the longest query of the OpenAPI document needs
KEEP_ALIVE_S = 120  # longer than clients keep an idle connection (Go: 90 s): a POST on one that is being closed is lost


def config_of(
    application: Any, host: str, port: int, certificate: Path | str | None, key: Path | str | None
) -> uvicorn.Config:
    """How an ASGI application is served at this address; with the PEM files over HTTPS."""
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        ssl_certfile=None if certificate is None else str(certificate),
        ssl_keyfile=None if key is None else str(key),
    )


def check_tls(certificate: Path | str | None, key: Path | str | None) -> None:
    """Raises StepflowError if these are not the PEM files of a certificate and its key: uvicorn would end with a traceback, or ask for a password."""
    if certificate is None or key is None:
        return
    for option, path in (("--certificate", certificate), ("--key", key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise StepflowError(
                f"{option} {path}: {error.strerror}: give a PEM file that this user can read"
            ) from error
    asked: list[int] = []

    def password() -> str:
        asked.append(1)
        return ""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password)
    except (ssl.SSLError, ValueError) as error:
        raise StepflowError(_tls_trouble(certificate, key, error, asked)) from error


def _tls_trouble(certificate: Path | str, key: Path | str, error: Exception, asked: list[int]) -> str:
    if asked:
        return f"--key {key} is encrypted: give it without a password, as `openssl pkey -in {key}` prints it"
    if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
        return f"--key {key} is not the key of --certificate {certificate}: give the two that were made together"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
    except ssl.SSLError:
        return f"--certificate {certificate} has no certificate: give a PEM file, with -----BEGIN CERTIFICATE-----"
    return f"--key {key} has no private key: give a PEM file, with -----BEGIN PRIVATE KEY-----"


def check_address(host: str, port: int, host_option: str = "--host", port_option: str = "--port") -> None:
    """Raises StepflowError if this process cannot listen there; uvicorn would log a number, and end with a code of its own."""
    try:
        for family, kind, number, _name, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, number) as found:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                found.bind(address)
    except OSError as error:
        raise StepflowError(_trouble(error, host, port, host_option, port_option)) from error


def _trouble(error: OSError, host: str, port: int, host_option: str, port_option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is used by another program: choose another one with {port_option}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"this user may not listen on port {port} of {host}: choose one above 1023 with {port_option}"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine: choose another one with {host_option}"
    return f"the server cannot listen on port {port} of {host}: {error.strerror}"


class ServingProcess(uvicorn.Server):
    """Serves until a signal. Then `stop` ends the streams of events, or withdraws a host: uvicorn waits for the end of every request."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], object]) -> None:
        super().__init__(config)
        self._stop = stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stop()
        await super().shutdown(sockets)
