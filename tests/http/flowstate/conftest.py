"""One server that knows nothing but flowstate.v1 for the tests of a file, each in a namespace of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.http.flowstate.served import FlowstateProcess

_namespaces = itertools.count(1)


@pytest.fixture(scope="module")
def flowstate_server(tmp_path_factory, forking) -> Iterator[FlowstateProcess]:
    server = FlowstateProcess(tmp_path_factory.mktemp("flowstate"))
    yield server
    server.kill()


@pytest.fixture
def flowstate_url(flowstate_server) -> str:
    """The address of an empty store."""
    return flowstate_server.url(f"own{next(_namespaces)}")
