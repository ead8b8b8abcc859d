"""The verb `serve`: a store over HTTP."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from stepflow.cli.definitions import flows_of
from stepflow.cli.extras import without_extra
from stepflow.cli.interrupts import raise_if_stopped
from stepflow.cli.logs import log_option, log_to_stderr
from stepflow.cli.output import Output
from stepflow.cli.settings import PREFIX, PortOption, read_config, warn_of_ignored_variables
from stepflow.cli.variables import names_variables
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.store import Driver
from stepflow.drivers.registry import driver_for
from stepflow.engine.clock import SystemClock
from stepflow.errors import StepflowError, Unavailable
from stepflow.model.flow import Flow

DEFAULT_STORE = "sqlite:///stepflow.db"
log = logging.getLogger("stepflow.server")
LOCAL = ("127.0.0.1", "::1", "localhost")


@click.command("serve", context_settings={"auto_envvar_prefix": PREFIX})
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    callback=read_config,
    expose_value=False,
    help="TOML file of settings, named as the options with _ for -; `origins` and `flows` are lists.",
)
@click.option("--store", default=DEFAULT_STORE, show_default=True, metavar="URL", help="The store to serve.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", cls=PortOption, default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option(
    "--tokens",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file of bearer tokens; needed unless the address is local. `stepflow token` makes them.",
)
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="URL",
    help="Site whose pages may call the server; repeatable. The setting is `origins`.  [env: STEPFLOW_ORIGINS]",
)
@click.option(
    "--flows",
    multiple=True,
    metavar="MODULE",
    help="Flows whose runs operators can start, as of `stepflow worker`; repeatable. Workers advance them.",
)
@click.option("--certificate", type=click.Path(path_type=Path, dir_okay=False), help="PEM file: serve HTTPS.")
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help="PEM file of the certificate's key.")
@log_option
@click.option("--print-config", is_flag=True, help="Print the settings as JSON and leave.")
@names_variables
def command(
    store: str,
    host: str,
    port: int,
    tokens: Path | None,
    origins: tuple[str, ...],
    flows: tuple[str, ...],
    certificate: Path | None,
    key: Path | None,
    json_logs: bool,
    print_config: bool,
) -> int:
    """Serve a store over HTTP, until SIGTERM or Ctrl-C.

    Each setting can be given in the environment as well, e.g. STEPFLOW_PORT, or STEPFLOW_ORIGINS with spaces between several;
    options win over the environment, and that over --config.
    """
    files = {name: None if path is None else str(path) for name, path in (("certificate", certificate), ("key", key))}
    if print_config:
        warn_of_ignored_variables(command)
        settings = {"store": driver_for(store).url, "host": host, "port": port, "origins": list(origins)}
        settings |= {"flows": list(flows)}
        settings |= {"tokens": None if tokens is None else str(tokens), "json_logs": json_logs}
        Output(json=True).value(settings | files)
        return 0
    known = [flow for module in flows for flow in flows_of(module)]
    log_to_stderr(json_logs)
    warn_of_ignored_variables(command)
    if tokens is None and host not in LOCAL:
        raise click.UsageError(f"--host {host} lets other machines in: give --tokens FILE, or use --host 127.0.0.1")
    if (certificate is None) != (key is None):
        raise click.UsageError("give --certificate and --key together")
    _serve(driver_for(store), tokens, origins, known, host, port, files["certificate"], files["key"])
    return 0


def _serve(
    driver: Driver,
    tokens: Path | None,
    origins: tuple[str, ...],
    flows: list[Flow[Any, Any]],
    host: str,
    port: int,
    certificate: str | None,
    key: str | None,
) -> None:
    """Serve until a signal; SIGTERM is the usual end, so the exit code is 0 after it."""
    try:
        from stepflow.server import app, read_tokens  # noqa: PLC0415 - optional packages
        from stepflow.server.serving import ServingProcess, check_address, check_tls, config_of  # noqa: PLC0415
    except ImportError as error:
        raise without_extra("serve", "server", error) from error
    check_tls(certificate, key)
    check_address(host, port)
    table = None if tokens is None else read_tokens(tokens)
    _open_once(driver)
    served = app(driver, tokens=table, origins=origins, flows=flows)
    config = config_of(served, host, port, certificate, key)
    server = ServingProcess(config, served.state.stop)
    with suppress(KeyboardInterrupt):  # uvicorn raises a signal again when it has shut down
        raise_if_stopped()
        server.run()
        if not server.started:
            raise StepflowError(f"the server could not start on {host} port {port}: its log says why")


def _open_once(driver: Driver) -> None:
    """Open the store, and make a new one if there is none. Raises StoreErrors, but for a server of a database that does not answer yet: it may start later."""
    path = getattr(driver, "path", None)
    new = isinstance(path, Path) and not path.exists()
    owner = Owner(f"serve-{secrets.token_hex(8)}", socket.gethostname(), os.getpid())
    try:
        driver.connect("", owner, SystemClock().now()).close()
    except Unavailable as error:
        if isinstance(path, Path):
            raise
        log.warning("the store cannot be used yet, GET /readyz tells when it can: %s", error)
    if new:
        log.warning("there was no store at %s: a new one was made, %s", path, driver.url)
