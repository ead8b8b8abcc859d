"""The endpoint `/metrics`: what the engine of a namespace has done here, and what is in the store, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepflow.drivers.port.queries import OwnerQuery
from stepflow.engine.instrument.metrics import STORE_RUNS, STORE_WORKERS
from stepflow.model.lifecycle import Status
from stepflow.server.errors import refusal_of
from stepflow.server.guard import authorize
from stepflow.server.namespaces import Namespaces, ServedEngine


def routes(namespaces: Namespaces) -> list[Route]:
    """The endpoint of the namespace without a name, and that of each other one below its name."""
    return [Route(f"{prefix}/metrics", _endpoint(namespaces), methods=["GET"]) for prefix in ("", "/{namespace}")]


def _endpoint(namespaces: Namespaces) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            namespace = request.path_params.get("namespace", "")
            authorize(request, "read", namespace)
            async with namespaces.engine(namespace) as engine:
                stored = _stored(await engine.tally(), await _workers(engine))
                text = generate_latest(engine.meter.registry) + generate_latest(stored)
        except Exception as error:  # noqa: BLE001 - every error has an answer
            return refusal_of(error).answer()
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return answer


async def _workers(engine: ServedEngine) -> int:
    """How many engines claim runs of the store, without those whose lock proves that they died."""
    peers = await engine.reader.read(OwnerQuery())
    return sum(bool(peer.owner.flows) and peer.lock != "free" for peer in peers)


def _stored(counts: Mapping[str, Mapping[str, int]], workers: int) -> CollectorRegistry:
    """What is in the store now; a flow that has runs has each status, so that no series ends when its last run moves on."""
    registry = CollectorRegistry()
    runs = Gauge(STORE_RUNS.prometheus, STORE_RUNS.description, STORE_RUNS.labels, registry=registry)
    for flow, by_status in counts.items():
        for status in Status:
            runs.labels(flow, status.value).set(by_status.get(status.value, 0))
    Gauge(STORE_WORKERS.prometheus, STORE_WORKERS.description, registry=registry).set(workers)
    return registry
