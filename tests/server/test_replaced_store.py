"""A server whose store is removed or replaced under it says so: to who asks whether it is ready, and to each caller."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stepflow import Engine
from stepflow.drivers.memory.session import MemoryStore
from stepflow.drivers.port.queries import DueSummary
from stepflow.server.tokens import Token, TokenTable, digest

pytestmark = pytest.mark.anyio


def commit(state_id: str) -> dict[str, Any]:
    transit = {"stateRef": {"idx": "0"}, "flowId": "charge"}
    return {"stateCtxs": [{"current": {"id": state_id}}], "commit": {"commands": [{"transit": transit}]}}


def remove(path: Path, _scheme: str) -> None:
    """Move all files of the store away."""
    away = path.with_name("away")
    away.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        file.rename(away / file.name)


def replace(path: Path, scheme: str) -> None:
    """Put another store at the path, as a restore of a backup does."""
    other = path.with_name("backup")
    with Engine(f"{scheme}:///{other}"):
        pass
    remove(path, scheme)
    other.rename(path)


@pytest.fixture(params=[remove, replace])
def harm(request):
    return request.param


@pytest.mark.parametrize("scheme", ["sqlite", "rocksdb"])
async def test_the_server_is_not_ready_and_commits_nothing(server, tmp_path, harm, scheme):
    path = tmp_path / "served"
    async with server(f"{scheme}:///{path}") as caller:
        await caller.post("Driver/Commit", commit("before"))
        assert (await caller.client.get("/readyz")).json() == {"ready": True}
        harm(path, scheme)
        answer = await caller.client.get("/readyz")
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert f"{path} was re" in answer.json()["error"]
        refused = await caller.post("Driver/Commit", commit("after"), status=503)
        assert refused["code"] == "failed_precondition"
        assert "restart the process that has it open" in refused["message"]


async def test_reads_of_operators_are_refused_with_what_to_do(server, tmp_path, harm):
    path = tmp_path / "served"
    async with server(f"sqlite:///{path}") as caller:
        assert (await caller.client.get("/api/v1/runs")).status_code == 200
        harm(path, "sqlite")
        answer = await caller.client.get("/api/v1/runs")
        assert (answer.status_code, answer.json()["code"]) == (503, "failed_precondition")
        assert "restart the process that has it open" in answer.json()["message"]
        page = await caller.client.get("/ui/runs")
        assert page.status_code == 503
        assert "restart the process that has it open" in page.text


@pytest.mark.parametrize("scheme", ["sqlite", "rocksdb"])
async def test_a_namespace_that_was_not_asked_for_before_is_refused_too(server, tmp_path, harm, scheme):
    path = tmp_path / "served"
    async with server(f"{scheme}:///{path}") as caller:
        assert (await caller.client.get("/api/v1/runs")).status_code == 200
        harm(path, scheme)
        for namespace in ("", "new"):
            answer = await caller.client.get("/api/v1/runs", params={"namespace": namespace})
            assert (answer.status_code, answer.json()["code"]) == (503, "failed_precondition")
        assert path.exists() is (harm is replace)


async def test_who_has_no_token_is_not_told_where_it_was(server, tmp_path, harm, caplog):
    path = tmp_path / "served"
    tokens = TokenTable([Token("reader", digest("r" * 43), "read", frozenset())])
    async with server(f"sqlite:///{path}", tokens=tokens) as caller:
        assert (await caller.client.get("/readyz")).status_code == 200
        harm(path, "sqlite")
        answer = await caller.client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"ready": False})
        assert f"{path} was re" in caplog.text


async def test_a_file_that_is_put_back_can_be_used_again(server, tmp_path):
    path = tmp_path / "served"
    async with server(f"sqlite:///{path}") as caller:
        assert (await caller.client.get("/readyz")).status_code == 200
        path.rename(tmp_path / "away")
        assert (await caller.client.get("/readyz")).status_code == 503
        (tmp_path / "away").rename(path)
        assert (await caller.client.get("/readyz")).json() == {"ready": True}
        await caller.post("Driver/Commit", commit("before"))


async def test_the_server_is_not_ready_while_the_store_does_not_answer(server, monkeypatch):
    go_on, next_due = threading.Event(), MemoryStore.next_due

    def hung(store: MemoryStore, flows: Mapping[str, str], now: int) -> DueSummary:
        go_on.wait(60)
        return next_due(store, flows, now)

    async with server("memory://") as caller:
        assert (await caller.client.get("/readyz")).status_code == 200
        monkeypatch.setattr(sys.modules["stepflow.server.app"], "READY_S", 0.01)
        monkeypatch.setattr(MemoryStore, "next_due", hung)
        try:
            answer = await caller.client.get("/readyz")
        finally:
            go_on.set()
        assert answer.status_code == 503
        assert answer.json() == {"ready": False, "error": "it did not answer within 0.01 s"}
