"""The docs build, and their reference shows every public name as the code has it: signatures, fields, statuses, nothing internal."""

from __future__ import annotations

import ast
import builtins
import fcntl
import inspect
import itertools
import os
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import attrs
import pytest

import stepflow
from stepflow import Status, errors
from stepflow.testing import VirtualClock
from tests.house.pages import ROOT
from tests.house.reference import ERRORS, MADE, is_internal, words

HEADING = re.compile(r'<h\d id="(stepflow\.[^"]*)" class="doc doc-heading"')
SIGNATURE = re.compile(r'<div class="[^"]*doc-signature[^"]*">(.*?)</div>', re.S)
NAMES = {name: getattr(stepflow, name) for name in stepflow.__all__ if name != "MemoryDriver"} | {
    "VirtualClock": VirtualClock
}
ORDINARY = frozenset(vars(builtins)) | words(
    "Any Awaitable Callable Iterable Iterator AsyncIterator Mapping Coroutine Literal NoReturn Self AbstractContextManager"
    " AbstractAsyncContextManager EllipsisType Sequence TypeForm datetime timedelta"
)
TYPE_VARIABLE = re.compile(r"[A-Z](s|_co|_contra)?|In|Out|Item")
KIT = ("stepflow.testing.strategies.", "stepflow.testing.script.", "stepflow.drivers.")  # shown, but not compared


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Path of an object -> the HTML of its entry in the reference, up to the next one."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # the processes of a test run share one site
    site, built = base / "site", base / "site.built"
    with (base / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
            done = subprocess.run(build, cwd=ROOT, text=True, capture_output=True, timeout=250, check=False)
            assert done.returncode == 0, done.stderr
            built.touch()
    assert (site / "quickstart" / "index.html").exists()
    return {path: text for page in (site / "reference").rglob("*.html") for path, text in entries_of(page)}


def entries_of(page: Path) -> Iterator[tuple[str, str]]:
    """Every documented object of a page, with its HTML."""
    text = page.read_text()
    found = [*HEADING.finditer(text), None]
    for one, following in itertools.pairwise(found):
        if one:
            yield one[1], text[one.end() : following.start() if following else len(text)]


def path_of(name: str) -> str:
    """Where the reference shows a public name."""
    return f"stepflow.{'testing.' if name == 'VirtualClock' else 'errors.' * (name in ERRORS)}{name}"


def signatures_in(html: str) -> list[str]:
    """The signatures of an entry, in one spelling, without the values of defaults."""
    text = "\n".join(unescape(re.sub(r"<[^>]+>", "", block)).strip() for block in SIGNATURE.findall(html))
    calls = re.sub(r"^(\w+\()", r"def \1", text, flags=re.M)
    return [spelling(one) for one in re.split(r"^def ", calls, flags=re.M)[1:]]


def spelling(signature: str) -> str:
    """One spelling of a signature: `...` for each default."""
    signature = re.sub(r"\b[a-z]\w*\.(?=[A-Z])", "", signature)  # `c.Command` is shown as `Command`
    tree = ast.parse(f"def {signature.strip()}: ...").body[0]
    assert isinstance(tree, ast.FunctionDef)
    tree.args.args, tree.args.posonlyargs = tree.args.posonlyargs + tree.args.args, []  # a `/` at the end is not shown
    for defaults in (tree.args.defaults, tree.args.kw_defaults):
        defaults[:] = [one and ast.Constant(...) for one in defaults]
    return ast.unparse(tree).partition(":\n")[0].removeprefix("def ")


def signature_of(name: str, function: Callable[..., Any], *, bound: bool = False) -> str:
    """The signature in the code; `bound` leaves out `self`."""
    parameters = list(inspect.signature(function).parameters.values())[bound:]
    text, kind = [], None
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and kind not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
            text.append("*")
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        annotation = p.annotation if isinstance(p.annotation, str) else inspect.formatannotation(p.annotation)
        text.append(f"{star}{p.name}: {annotation}" + ("" if p.default is p.empty else " = ..."))
        kind = p.kind
    returns = inspect.signature(function).return_annotation
    arrow = f" -> {returns}" if returns not in (inspect.Signature.empty, None, "None") or name[0].islower() else ""
    return spelling(f"{name}({', '.join(text)}){arrow}")


def members_of(name: str) -> dict[str, Any]:
    """What a public class offers: fields, methods, properties, enum members; also those that it inherits from us."""
    found: dict[str, Any] = {}
    for base in reversed(NAMES[name].__mro__):
        if base.__module__.startswith("stepflow"):
            found |= dict.fromkeys(inspect.get_annotations(base)) | vars(base)
    return {key: value for key, value in found.items() if not is_internal(name, key)}


def functions_of(name: str) -> Iterator[tuple[str, str]]:
    """Path and signature of each function, method and overload of a public name."""
    value = NAMES[name]
    if inspect.isfunction(value):
        for one in typing.get_overloads(value) or [value]:
            yield path_of(name), signature_of(name, one)
    elif isinstance(value, type):
        if name not in MADE and (attrs.has(value) or "__init__" in vars(value)):
            yield path_of(name), signature_of(name, value)
        for key, member in members_of(name).items():
            plain = inspect.unwrap(getattr(member, "__func__", member))
            if inspect.isfunction(plain):
                for one in typing.get_overloads(plain) or [plain]:
                    yield f"{path_of(name)}.{key}", signature_of(key, one, bound=not isinstance(member, staticmethod))


def test_every_public_name_and_all_that_it_offers_is_shown_and_nothing_else(shown):
    expected = {path_of(name) for name in NAMES}
    for name, value in NAMES.items():
        if isinstance(value, type):
            expected |= {f"{path_of(name)}.{key}" for key in members_of(name)}
    assert {path for path in shown if not path.startswith(KIT)} - {"stepflow.MemoryDriver"} == expected


def test_every_signature_is_that_of_the_code(shown):
    functions = [pair for name in NAMES for pair in functions_of(name)]
    assert len(functions) > 150
    assert [(path, one) for path, one in functions if one not in signatures_in(shown[path])] == []


def test_what_an_engine_makes_has_no_constructor(shown):
    assert [name for name in sorted(MADE) if signatures_in(shown[path_of(name)])] == []


def test_every_type_in_a_signature_is_public_or_explained(shown):
    page = (ROOT / "docs/reference/values.md").read_text()
    told = set(re.findall(r"^\| `(\w+)`", page, re.M))
    used = {
        node.id
        for path, html in shown.items()
        if not path.startswith(KIT)
        for one in signatures_in(html)
        for node in ast.walk(ast.parse(f"def {one}: ..."))
        if isinstance(node, ast.Name)
    }
    assert {name for name in used - ORDINARY - set(NAMES) if not TYPE_VARIABLE.fullmatch(name)} == told


def test_every_status_is_shown_with_its_text_and_meaning(shown):
    for status in Status:
        html = shown[f"stepflow.Status.{status.name}"]
        assert status.value in html
        assert "<p>" in html


def test_fields_are_shown_with_their_types(shown):
    for name, value in NAMES.items():
        for field in attrs.fields(value) if isinstance(value, type) and attrs.has(value) else ():
            if not is_internal(name, field.name):
                (block,) = SIGNATURE.findall(shown[f"{path_of(name)}.{field.name}"])
                assert re.fullmatch(rf"{field.name}:.+", unescape(re.sub(r"<[^>]+>|\s", "", block)), re.S)


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_every_attribute_of_an_error_is_a_declared_field(name):
    kind = getattr(errors, name)
    count = len(inspect.signature(kind).parameters) if "__init__" in vars(kind) else 1
    assert set(vars(kind(*["text"] * count if name != "RevisionsLost" else [7]))) <= set(members_of(name))


def test_a_signature_has_one_spelling():
    assert (
        spelling("f(\n    a: int = 5,\n    *,\n    b: str = LONG\n) -> c.Command")
        == "f(a: int=..., *, b: str=...) -> Command"
    )


def test_a_changed_signature_is_found():
    def result(self, timeout: float | None = None, more: int = 0) -> None: ...

    html = '<div class="doc-signature"><pre>result(timeout: <span>float</span> | None = None) -&gt; None</pre></div>'
    assert signature_of("result", result, bound=True) not in signatures_in(html)
