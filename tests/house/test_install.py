"""A plain `pip install .` is small: what the wheel holds, what it asks for, and that it runs with nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FILES_OF_PAGES = {".html", ".css", ".js", ".svg", ".md", ".LICENSE"}
ALLOWED = {"stepflow", "attrs", "cattrs", "typing-extensions"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel that a plain install would build, from a copy: a build must not touch the checkout."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT / "stepflow", copy / "stepflow", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, copy / name)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=copy, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def closure(requirements: list[str]) -> set[str]:
    """Names of all distributions that these requirements bring, without extras, as installed here."""
    found: set[str] = set()
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            name = canonicalize_name(requirement.name)
            found |= {name} | closure(metadata.requires(name) or [])
    return found


def metadata_of(wheel: Path, field: str) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode()).get_all(field) or []


def requires_of(wheel: Path) -> list[str]:
    return metadata_of(wheel, "Requires-Dist")


@pytest.fixture(scope="module")
def bare_python(wheel, tmp_path_factory) -> Path:
    """The Python of a fresh environment that holds the wheel and its requirements, nothing else."""
    home = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    site = next(home.glob("lib/python3.*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for name in closure(requires_of(wheel)):
        for file in metadata.files(name) or []:
            if not file.parts[0].startswith(".") and "__pycache__" not in file.parts:
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), site / file)
    return home / "bin" / "python"


def run(python: Path, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(python), "-I", *args], cwd=cwd, text=True, capture_output=True, timeout=240, check=False)


def test_a_plain_install_brings_only_attrs_and_cattrs(wheel):
    assert closure(requires_of(wheel)) <= ALLOWED


def test_the_readme_names_every_extra(wheel):
    named = re.findall(r'pip install "\.\[(\w+)\]"', (ROOT / "README.md").read_text())
    assert set(named) == set(metadata_of(wheel, "Provides-Extra"))


def test_the_wheel_holds_the_package_its_types_and_its_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {"stepflow/__init__.py", "stepflow/py.typed", "stepflow/engine/__init__.py"} <= set(names)
    assert any(n.endswith("licenses/LICENSE") for n in names)
    pages = {str(p.relative_to(ROOT)) for p in (ROOT / "stepflow/server/ui").rglob("*") if p.suffix in FILES_OF_PAGES}
    assert {"stepflow/server/ui/templates/layout.html", "stepflow/server/ui/static/htmx.LICENSE"} <= pages <= set(names)
    assert {n.split("/")[0] for n in names} == {"stepflow", next(n.split("/")[0] for n in names if ".dist-info" in n)}


def test_the_quickstart_runs_with_nothing_else_installed(bare_python, tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    (tmp_path / "quickstart.py").write_text(code.group(1))
    done = run(bare_python, "quickstart.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_line_without_its_extra_names_the_install_line(bare_python, tmp_path):
    for verb, extra in (("list", "cli"), ("serve", "server")):
        done = run(bare_python, "-m", "stepflow", verb, cwd=tmp_path)
        assert done.returncode == 2
        assert f'pip install "stepflow[{extra}]"' in done.stderr
        assert "Traceback" not in done.stderr


def test_the_import_loads_no_server_no_command_line_and_no_test_tools(bare_python, tmp_path):
    code = "import stepflow, sys; print([m for m in sys.modules if m.startswith('stepflow.')])"
    done = run(bare_python, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"stepflow\.(cli|server|testing|wire)\b", done.stdout)


IMPORTS = {
    "cli": "stepflow.cli.app, stepflow.cli.worker, stepflow.cli.show",
    "http": "stepflow.drivers.http",
    "remote": "stepflow.remote.remote_hosts",
    "server": "stepflow.server, stepflow.cli.serve, stepflow.cli.host, stepflow.cli.token",
}


# As if the modules that its arguments name were not installed, whatever the environment of the tests holds.
WITHOUT = """import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


@pytest.mark.parametrize("extra", IMPORTS)
def test_an_extra_brings_what_its_code_imports(wheel, extra):
    given = [text for text in requires_of(wheel) if f"extra == '{extra}'" in text or "extra ==" not in text]
    asked = closure([text.partition(";")[0] for text in given]) | {"stepflow"}
    brought = metadata.packages_distributions().items()
    absent = [name for name, owners in brought if asked.isdisjoint(map(canonicalize_name, owners))]
    assert "pytest" in absent
    command = [sys.executable, "-c", f"{WITHOUT}import {IMPORTS[extra]}", *absent]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
