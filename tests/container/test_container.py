"""The container files are linted, name commands that exist, and their services work together. No container engine is needed."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import yaml
from attrs import frozen
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stepflow import Engine
from tests.house.pages import ROOT
from tests.postgres.server import Server

FOLDER = ROOT / "examples" / "container"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "stepflow"}
STEPFLOW = [sys.executable, "-m", "stepflow"]
TOOLS = Path(sys.executable).parent
LIMIT_S = 60
EXTRAS = ("server", "postgres", "http", "encryption")


def instructions() -> list[list[str]]:
    """The words of each instruction of the Dockerfile: continued lines are one."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M).replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line.strip()]


def last_stage() -> list[list[str]]:
    all_ = instructions()
    first = max(place for place, words in enumerate(all_) if words[0] == "FROM")
    return all_[first:]


def linted(*words: str | Path) -> str:
    """What a linter says; it must end well."""
    done = subprocess.run([TOOLS / words[0], *words[1:]], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_hadolint_finds_nothing_in_the_dockerfile(tmp_path):
    assert linted("hadolint", "--failure-threshold", "style", FOLDER / "Dockerfile") == ""
    (tmp_path / "Dockerfile").write_text(re.sub(r"ARG PYTHON=\S+", "ARG PYTHON", DOCKERFILE) + "RUN cd /tmp\n")
    with pytest.raises(AssertionError, match="DL3003"):
        linted("hadolint", "--failure-threshold", "style", tmp_path / "Dockerfile")


def test_the_compose_file_is_of_the_official_schema(tmp_path):
    schema = ("check-jsonschema", "--builtin-schema", "vendor.compose-spec")
    linted(*schema, FOLDER / "compose.yaml")
    wrong = (FOLDER / "compose.yaml").read_text().replace("healthcheck:", "healthchek:", 1)
    (tmp_path / "compose.yaml").write_text(wrong)
    with pytest.raises(AssertionError, match="healthchek"):
        linted(*schema, tmp_path / "compose.yaml")


def test_the_image_runs_as_a_user_from_a_pinned_base_without_tools():
    words = last_stage()
    (user,) = (line[1] for line in words if line[0] == "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert re.search(r"^ARG PYTHON=\d+\.\d+\.\d+-slim-bookworm$", DOCKERFILE, re.M)
    assert {line[1] for line in instructions() if line[0] == "FROM"} == {"python:${PYTHON}"}
    assert [line for line in words if line[0] == "COPY"] == [["COPY", "--from=build", "/opt/stepflow", "/opt/stepflow"]]
    (tools,) = (line for line in words if line[0] == "RUN")
    assert tools[1:7] == ["python", "-m", "pip", "uninstall", "--yes", "pip"]
    assert not re.search("apt-get|pip install|curl|wget", " ".join(" ".join(line) for line in words))
    installs = re.findall(
        r"pip (?:--python \S+ )?install (.*?)(?:&&|$)", " ".join(" ".join(line) + "\n" for line in instructions()), re.M
    )
    assert [bool(re.search("--require-hashes|--no-index", line)) for line in installs] == [True] * 3
    probe = next(line for line in words if line[0] == "HEALTHCHECK")
    assert "/readyz" in " ".join(probe)


def test_what_is_copied_is_there_and_not_ignored():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word for line in instructions() if line[0] == "COPY" and "--from=build" not in line for word in line[1:-1]
    }
    assert copied == allowed
    assert [name for name in copied if not (ROOT / name).exists()] == []


def locked(name: str) -> dict[str, str]:
    """Package -> version of a lock file; each must have hashes."""
    entries = re.split(r"^(?=\w)", (FOLDER / name).read_text(), flags=re.M)[1:]
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    return dict(re.match(r"([\w-]+)==(\S+)", entry).groups() for entry in entries)


def test_the_locks_have_what_the_package_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    needed = [*project["project"]["dependencies"], *(line for extra in EXTRAS for line in extras[extra])]
    packages = locked("requirements.txt")
    for requirement in map(Requirement, needed):
        assert requirement.specifier.contains(packages[canonicalize_name(requirement.name)]), requirement
    (build,) = map(Requirement, project["build-system"]["requires"])
    assert build.specifier.contains(locked("build-requirements.txt")[build.name])


def test_the_wheel_of_the_image_builds_from_what_is_copied(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "stepflow", tmp_path / "stepflow", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "wheels")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "wheels").glob("stepflow-*.whl"))) == 1


def commands() -> dict[str, list[str]]:
    """Each command line of `stepflow` in the files."""
    found = {name: service["command"] for name, service in OURS.items()}
    found["image"] = json.loads(" ".join(next(line[1:] for line in instructions() if line[0] == "CMD")))
    for name, service in OURS.items():
        test = service.get("healthcheck", {}).get("test", [])
        if test[:2] == ["CMD", "stepflow"]:
            found[f"health of {name}"] = test[2:]
    return found


@pytest.mark.parametrize("words", commands().values(), ids=commands())
def test_each_command_exists_with_its_options(words, tmp_path):
    """Options are read before `--help` shows the help, so a wrong one is an error."""
    done = subprocess.run(
        [*STEPFLOW, *words, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert (done.returncode, done.stdout[:15]) == (0, "Usage: stepflow"), done.stderr


def test_only_the_server_is_published_and_no_password_is_written_down():
    published = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}
    assert published == {"server": ["127.0.0.1:8080:8080"]}
    environment = [pair for service in COMPOSE["services"].values() for pair in service["environment"].items()]
    passwords = [value for name, value in environment if "PASSWORD" in name]
    assert len(passwords) == len(COMPOSE["services"])
    assert all(re.fullmatch(r"\$\{POSTGRES_PASSWORD:\?.+\}", value) for value in passwords)
    assert not any(re.search(r"://[^/@]*:[^/@]*@", value) for _, value in environment)
    assert COMPOSE["services"]["worker"]["deploy"]["replicas"] == 3
    for service in OURS.values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert all("healthcheck" in COMPOSE["services"][name] for name in ("db", "worker", "migrate"))
    assert [line.split(":", 1)[0] for line in (FOLDER / ".gitignore").read_text().split()] == [".env", "tokens.toml"]


@pytest.fixture
def store() -> Iterator[str]:
    server = Server(18)
    yield server.uri
    server.close()


@pytest.fixture
def tokens(tmp_path) -> tuple[Path, str]:
    """The file of the secret `tokens`, made as the comment in compose.yaml says, and the token."""
    command = [*STEPFLOW, "token", "ops", "--scope", "admin", "--json"]
    made = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True).stdout)
    (tmp_path / "tokens.toml").write_text(made["entry"])
    return tmp_path / "tokens.toml", made["secret"]


@frozen
class Composition:
    """Starts what compose.yaml says as plain processes, with another store, file of tokens and port."""

    store: str
    tokens: Path
    folder: Path

    def command(self, name: str) -> list[str]:
        replaced = {"/run/secrets/tokens": str(self.tokens), "0.0.0.0": "127.0.0.1"}
        words = [replaced.get(word, word) for word in OURS[name]["command"]]
        return [*STEPFLOW, *words, *(["--port", "0"] if name == "server" else [])]

    def environment(self, name: str) -> dict[str, str]:
        given = OURS[name]["environment"] | {"STEPFLOW_STORE": self.store}
        python = f"{FOLDER / 'flows'}:{ROOT}"  # the image has the package installed, and PYTHONPATH=/flows
        return os.environ | {k: v for k, v in given.items() if k != "PGPASSWORD"} | {"PYTHONPATH": python}

    def start(self, stack: ExitStack, name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(name), cwd=self.folder, env=self.environment(name), stderr=subprocess.PIPE, text=True
        )
        stack.callback(process.communicate)
        stack.callback(process.kill)
        return process


def address_of(server: subprocess.Popen[str]) -> str:
    assert server.stderr is not None
    for line in server.stderr:
        if found := re.search(r"running on (http://\S+)", json.loads(line)["message"]):
            return found[1]
    raise AssertionError("the server ended")


def test_the_services_work_together(store, tokens, tmp_path):
    shop = SimpleNamespace(**runpy.run_path(str(FOLDER / "flows" / "shop.py")))
    file, secret = tokens
    composition = Composition(store, file, tmp_path)
    with ExitStack() as stack:
        assert composition.start(stack, "migrate").wait(LIMIT_S) == 0
        url = address_of(server := composition.start(stack, "server"))
        workers = [composition.start(stack, "worker") for _ in range(OURS["worker"]["deploy"]["replicas"])]
        assert httpx2.get(f"{url}/readyz", timeout=LIMIT_S).json() == {"ready": True}  # the health check sends no token
        assert (
            httpx2.post(f"{url}/flowstate.v1.Driver/GetStates", json={"getStates": {}}, timeout=LIMIT_S).status_code
            == 401
        )
        with Engine(url.replace("://", f"://{secret}@")) as engine:
            runs = [engine.start(shop.order_flow, shop.Order(n, 500)) for n in range(20)]
            assert [run.result(timeout=LIMIT_S) for run in runs] == [f"receipt-{n}-500" for n in range(20)]
        health = [*STEPFLOW, *OURS["worker"]["healthcheck"]["test"][2:]]
        subprocess.run(health, cwd=tmp_path, env=composition.environment("worker"), timeout=LIMIT_S, check=True)
        for process in (*workers, server):
            process.send_signal(signal.SIGTERM)
        assert [process.wait(LIMIT_S) for process in (*workers, server)] == [0, 0, 0, 0]
