"""HttpDriver: a store that a stepflow server serves, or a flowstate server, as far as its protocol goes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stepflow.drivers.http.client import OtherServer, ServerClient, shown
from stepflow.drivers.http.codec import dump, dump_error, load
from stepflow.drivers.http.flowstate.client import FlowstateClient
from stepflow.drivers.http.flowstate.session import FlowstateMaintenance, FlowstateStore
from stepflow.drivers.http.session import HttpStore
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.notes import ChangeNote, EndNote, NotePage
from stepflow.drivers.port.pruning import Pruned
from stepflow.drivers.port.queries import Condition, PostConflict
from stepflow.drivers.port.store import Driver, Maintenance, Store
from stepflow.errors import StepflowError


class HttpDriver(Driver):
    """The store behind `http://host:port`, `https://host`, or `http://TOKEN@host:port`.

    A server that knows the calls of stepflow is sent these; to one that knows only those of flowstate.v1 the session speaks
    that, and refuses what it has no place for. No transaction of a caller, or of a user's function, reaches either.
    """

    def __init__(self, url: str) -> None:
        self.url = shown(url)
        self._given = url
        self._flowstate = False  # as far as this driver knows
        ServerClient(url).close()  # a wrong URL is refused here

    def connect(self, namespace: str, owner: Owner, now: int) -> Store:
        """Open a session on the server."""
        client = ServerClient(self._given)
        try:
            store: Store = HttpStore(client, namespace, owner, now)
        except OtherServer:
            client.close()
            if not self._speaks_flowstate():
                raise
            self._flowstate = True
            store = FlowstateStore(FlowstateClient(self._given), namespace, owner, now)
        else:
            self._flowstate = False
        return store

    def _speaks_flowstate(self) -> bool:
        client = FlowstateClient(self._given)
        try:
            return client.speaks()
        finally:
            client.close()

    def maintenance(self, namespace: str) -> Maintenance:
        """Upkeep, done by the server; one that speaks flowstate.v1 alone has none."""
        if self._flowstate:
            return FlowstateMaintenance(FlowstateClient(self._given))
        return HttpMaintenance(ServerClient(self._given), namespace)

    def note_change(self, namespace: str, note: ChangeNote) -> EndNote | None:
        """Two calls: one now, one when the change has ended. None for a server that has no audit."""
        client, note_id = ServerClient(self._given), secrets.token_hex(16)
        plain = {"verb": note.verb, "kind": note.kind, "target": note.target, "arguments": dict(note.arguments)}
        try:
            client.call("begin_note", {"id": note_id, "namespace": namespace, **plain})
        except OtherServer:
            client.close()
            if self._speaks_flowstate():
                return None
            raise

        def end(error: BaseException | None, result: Mapping[str, Any]) -> None:
            refused = dump_error(error) if isinstance(error, StepflowError) else None
            interrupted = error is not None and refused is None
            ended = {"id": note_id, "error": refused, "interrupted": interrupted, "result": dict(result)}
            client.call("end_note", ended)
            client.close()

        return end

    def notes(self, namespace: str, facts: Mapping[str, str], limit: int, cursor: str | None) -> NotePage | None:
        """What the server answers; None from one that has no audit."""
        client = ServerClient(self._given)
        asked = {"namespace": namespace, "facts": dict(facts), "limit": limit, "cursor": cursor}
        try:
            return NotePage(**client.call("list_notes", asked))
        except OtherServer:
            if self._speaks_flowstate():
                return None
            raise
        finally:
            client.close()


class HttpMaintenance(Maintenance):
    """Upkeep of one namespace."""

    def __init__(self, client: ServerClient, namespace: str) -> None:
        self._client, self._namespace = client, namespace

    def pruning(self, before: int, limit: int, *, now: int = 0, keep_until: int = 0) -> Iterator[Pruned]:
        """Each piece is one call; ReadOnly if the token does not allow it."""
        while True:
            arguments = {"before": before, "limit": limit, "now": now, "keep_until": keep_until}
            piece: Pruned | None = load(self._call("prune_piece", **arguments), Pruned | None)
            if piece is None:
                return
            yield piece
            limit = max(0, limit - piece.runs)  # with 0 what is left of the last one goes

    def check(self) -> list[str]:
        """What the server finds."""
        return load(self._call("check"), list[str])  # type: ignore[no-any-return]

    def conflicts(self, limit: int) -> list[PostConflict]:
        """Those of callers' transactions on the server's machine."""
        return load(self._call("conflicts", limit=limit), list[PostConflict])  # type: ignore[no-any-return]

    def conditions(self, now: Callable[[], int]) -> list[Condition]:
        """Those of the store, by the server's clock."""
        return load(self._call("conditions", now=now()), list[Condition])  # type: ignore[no-any-return]

    def _call(self, method: str, **arguments: int) -> object:
        return self._client.call(method, {"namespace": dump(self._namespace, str), **arguments})
