"""The verb `host`: executes flow functions for workers elsewhere."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import click

from stepflow.cli.definitions import MODULE_HELP, flows_of
from stepflow.cli.extras import without_extra
from stepflow.cli.interrupts import raise_if_stopped
from stepflow.cli.logs import log_option, log_to_stderr
from stepflow.cli.target import StoreTarget, read_secrets, secret_option, with_store
from stepflow.drivers.registry import driver_for
from stepflow.errors import StepflowError
from stepflow.model.function import FlowFunction


@click.command(
    "host",
    help=f"Execute the flow functions in MODULES for workers that call this host, until SIGTERM or Ctrl-C.\n\nMODULE is {MODULE_HELP}.",
)
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...")
@click.option("--url", required=True, metavar="URL", help="Where workers reach this host, e.g. http://10.0.0.7:9000.")
@click.option("--listen", metavar="HOST:PORT", help="Address to listen on.  [default: that of --url]")
@click.option(
    "--concurrency", default=64, show_default=True, type=click.IntRange(1), help="Calls at a time; others are refused."
)
@click.option("--certificate", type=click.Path(path_type=Path, dir_okay=False), help="PEM file: serve HTTPS.")
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help="PEM file of the certificate's key.")
@secret_option
@log_option
@with_store
def command(
    target: StoreTarget,
    modules: tuple[str, ...],
    url: str,
    listen: str | None,
    concurrency: int,
    certificate: Path | None,
    key: Path | None,
    secret_file: Path | None,
    json_logs: bool,
) -> int:
    """Register this host in the store, serve, and withdraw it at the end."""
    flows = [flow for module in modules for flow in flows_of(module) if isinstance(flow, FlowFunction)]
    if not flows:
        raise click.UsageError(f"{', '.join(modules)} defines no flow function: let a worker advance its flows")
    if (certificate is None) != (key is None):
        raise click.UsageError("give --certificate and --key together")
    secrets = read_secrets(secret_file)
    try:
        from stepflow.server import flow_host  # noqa: PLC0415 - optional packages
        from stepflow.server.serving import ServingProcess, check_address, check_tls, config_of  # noqa: PLC0415
    except ImportError as error:
        raise without_extra("host", "server", error) from error
    host, port = _address(listen or url)
    application = flow_host(
        driver_for(target.store), flows, url=url, secret=secrets,
        namespace=target.namespace, concurrency=concurrency, payload=target.payload,
    )  # fmt: skip
    check_tls(certificate, key)
    check_address(host, port, "--listen", "--listen")
    config = config_of(application, host, port, certificate, key)
    log_to_stderr(json_logs)
    server = ServingProcess(config, lambda: application.state.stop())  # noqa: PLW0108 - made when it starts
    with suppress(KeyboardInterrupt):  # uvicorn raises a signal again when it has shut down
        raise_if_stopped()
        server.run()
        if not server.started:
            raise StepflowError(f"the host could not start on {host} port {port}: its log says why")
    return 0


def _address(text: str) -> tuple[str, int]:
    """Host and port of a URL or of HOST:PORT."""
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.hostname is None or port is None:
        raise click.UsageError(f"{text!r}: give HOST:PORT, e.g. 0.0.0.0:9000")
    return parts.hostname, port
