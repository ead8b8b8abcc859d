"""Generates the blocking faces of stepflow/engine/blocking from the async ones: `python -m tests.house.generate_blocking`.

Each public method of an async class that the hand-written base class does not define becomes a forwarding method: the same
signature, the same docstring without `await`, and a call that waits in the calling thread. The script lives beside the
test that compares its output with the files, because it works on the source of a checkout and is no part of the package.
"""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "make generate"
BASE = "stepflow/engine/blocking/base.py"


@frozen
class Face:
    """One generated class: `inner` is the attribute of its base class that holds the async object."""

    name: str
    base: str
    base_path: str
    twin: str
    twin_path: str
    inner: str
    note: str = ""
    parameter: str = ""


FACES = {
    "stepflow/engine/blocking/states.py": (
        "SyncWatch and BlockingVerbs: the blocking faces of Watch and AsyncVerbs.",
        Face("SyncWatch", "WatchBase", BASE, "Watch", "stepflow/engine/states/watch.py", "_watch"),
        Face("BlockingVerbs", "VerbsBase", BASE, "AsyncVerbs", "stepflow/engine/states/api.py", "_verbs"),
    ),
    "stepflow/engine/blocking/run.py": (
        "Run: the blocking face of AsyncRun.",
        Face("Run", "RunBase", BASE, "AsyncRun", "stepflow/engine/client/run.py", "_run", parameter="E"),
    ),
    "stepflow/engine/blocking/schedule.py": (
        "Schedule: the blocking face of AsyncSchedule.",
        Face(
            "Schedule",
            "ScheduleBase",
            "stepflow/engine/blocking/schedule_base.py",
            "AsyncSchedule",
            "stepflow/engine/client/schedule.py",
            "_schedule",
            parameter="E",
        ),
    ),
    "stepflow/engine/blocking/flow_engine.py": (
        "FlowEngine: the blocking face of AsyncFlowEngine.",
        Face(
            "FlowEngine",
            "FlowEngineBase",
            "stepflow/engine/blocking/flow_engine_base.py",
            "AsyncFlowEngine",
            "stepflow/engine/flow_engine.py",
            "_verbs",
        ),
    ),
    "stepflow/engine/blocking/engine.py": (
        "Engine: the blocking face of AsyncEngine.",
        Face(
            "Engine",
            "EngineBase",
            "stepflow/engine/blocking/engine_base.py",
            "AsyncEngine",
            "stepflow/engine/async_engine.py",
            "_engine",
            note="It may be used from any thread but its own event loop's, in the process that opened it.",
        ),
    ),
}
"""Generated file -> the job in its first docstring line, and its classes."""

TWINS = {
    "AsyncRun": "Run",
    "AsyncSchedule": "Schedule",
    "Watch": "SyncWatch",
    "AsyncEngine": "Engine",
    "AsyncFlowEngine": "FlowEngine",
    "AsyncIterator": "Iterator",
}
"""Async name -> what takes its place in annotations and docstrings."""
HOMES = {
    "TypeVar": "typing",
    "Run": "stepflow.engine.blocking.run",
    "Schedule": "stepflow.engine.blocking.schedule",
    "SyncWatch": "stepflow.engine.blocking.states",
    "Iterator": "collections.abc",
    "each": "stepflow.engine.blocking.base",
}
"""Where names come from that the async source and the base class do not import."""
WRAP = {
    "AsyncRun": "self._blocking_run({})",
    "AsyncSchedule": "Schedule({}, self._call)",
    "Watch": "SyncWatch({}, self._call)",
}
"""Async class -> the expression that makes a blocking object of one."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def generated(path: str, root: Path = ROOT) -> str:
    """The text of a generated file, formatted; `root` holds the sources."""
    job, *faces = FACES[path]
    bodies = {face: _class(root, face) for face in faces}
    lines = {f"from {HOMES['TypeVar']} import TypeVar"}
    for face, body in bodies.items():
        lines |= _definitions(root, face, body, made_here={face.name for face in faces})
    sources = " and ".join(sorted({face.twin_path for face in faces}))
    head = [f"# Generated from {sources} by `{COMMAND}`: do not edit."]
    if any(hasattr(builtins, name) for body in bodies.values() for name in _parameters(ast.parse(body))):
        head.append("# ruff: noqa: A002 - the names of parameters are those of the async face")
    head += [f'"""{job}"""', "from __future__ import annotations"]
    text = "\n".join([*head, *sorted(lines, key=lambda line: ("TypeVar(" in line, line)), *bodies.values()])
    return _ruff(["format"], _ruff(["check", "--quiet", "--select", "F401,I", "--fix"], text, path), path)


def _parameters(tree: ast.Module) -> set[str]:
    return {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def _ruff(command: list[str], text: str, path: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--stdin-filename", path, "-"],
        input=text,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"ruff {command[0]} refuses the text generated for {path}: {done.stderr}\n{text}")
    return done.stdout


def _definitions(root: Path, face: Face, body: str, made_here: set[str]) -> set[str]:
    """The statements that define what the code of a class reads: imports, and type variables."""
    tree = ast.parse(body)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - _parameters(tree) - made_here
    found = set()
    for name in names - {"self", "found", "one", *dir(builtins)}:
        places = [_definition(root, path, name) for path in (face.twin_path, face.base_path)]
        home = f"from {HOMES[name]} import {name}" if name in HOMES else next(filter(None, places), None)
        if home is None:
            raise AssertionError(f"nothing defines {name!r}, which the generated code of {face.name} uses")
        found.add(home)
    return found


def _definition(root: Path, path: str, name: str) -> str | None:
    """The statement by which a module has a name: its import, or an import from the module itself."""
    module = path.removesuffix(".py").replace("/", ".")
    for node in _parsed(root, path).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    single = ast.Import([alias]) if isinstance(node, ast.Import) else None
                    return ast.unparse(single or ast.ImportFrom(node.module, [alias], 0))
        elif isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return f"from {module} import {name}"
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            text = ast.unparse(node)
            return text if "TypeVar" in text else f"from {module} import {name}"
    return None


def _parsed(root: Path, path: str) -> ast.Module:
    return ast.parse((root / path).read_text(), path)


def _class_of(root: Path, path: str, name: str) -> ast.ClassDef:
    return next(n for n in _parsed(root, path).body if isinstance(n, ast.ClassDef) and n.name == name)


def _class(root: Path, face: Face) -> str:
    """The source of a generated class."""
    by_hand = {n.name for n in _class_of(root, face.base_path, face.base).body if isinstance(n, Function)}
    twin = _class_of(root, face.twin_path, face.twin)
    document = "\n\n".join(filter(None, [_document(twin), face.note]))
    base = f"{face.base}[{face.parameter}]" if face.parameter else face.base
    lines = [f"class {face.name}({base}):", _quoted(document)]
    methods = [n for n in twin.body if isinstance(n, Function) and not n.name.startswith("_") and n.name not in by_hand]
    overloaded = {n.name for n in methods if _is_overload(n)}
    lines += [_method(face, node, overloaded) for node in methods]
    return "\n".join(lines)


def _is_overload(node: Function) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list)


def _document(node: ast.ClassDef | Function) -> str:
    """The docstring in the words of code that blocks; a class leaves out the paragraphs about its event loop."""
    paragraphs = (ast.get_docstring(node) or "").split("\n\n")
    if isinstance(node, ast.ClassDef):
        paragraphs = [text for text in paragraphs if not re.search(r"\bloop\b", text)]
    text = "\n\n".join(paragraphs)
    text = re.sub(r"\b(?:async (?=for |with )|await )", "", text)
    text = re.sub(
        r"\b(AsyncRun|AsyncSchedule|AsyncEngine|AsyncFlowEngine|Watch)\b", lambda found: TWINS[found[0]], text
    )
    if wrong := re.search(r"\b(async\w*|await\w*|coroutine|loop)\b", text, re.I):
        raise AssertionError(
            f"{node.name}: say it without {wrong[0]!r}, or write this method by hand in the base class"
        )
    return text


def _quoted(text: str) -> str:
    """A docstring, indented as the body of a class."""
    lines = text.splitlines()
    end = '"""' if len(lines) == 1 else '\n    """'
    return "    " + '"""' + "\n".join([lines[0], *(f"    {line}" if line else "" for line in lines[1:])]) + end


def _method(face: Face, node: Function, overloaded: set[str]) -> str:
    """A forwarding method; of an overload only the signature."""
    is_stream = isinstance(node, ast.AsyncFunctionDef) and any(isinstance(n, ast.Yield) for n in ast.walk(node))
    returns = "None" if node.returns is None else _renamed(ast.unparse(node.returns))
    signature = f"def {node.name}({_renamed(ast.unparse(node.args))}) -> {returns}:"
    if _is_overload(node):
        return _indented(["@overload", f"{signature} ..."])
    if node.decorator_list:
        raise AssertionError(f"{face.twin}.{node.name} is decorated: write it by hand in {face.base}")
    if node.args.kwarg is not None:
        raise AssertionError(f"{face.twin}.{node.name} takes anything by keyword: name its parameters")
    mark = "  # type: ignore[arg-type, unused-ignore]  # the overloads decide" if node.name in overloaded else ""
    call = f"self.{face.inner}.{node.name}({_arguments(node.args)})"
    body = []
    if is_stream:
        call = f"each(self._call, {call})"
    elif isinstance(node, ast.AsyncFunctionDef):
        has_tx = any(arg.arg == "tx" for arg in node.args.kwonlyargs)
        call = f"self._call_tx(tx, {call})" if has_tx else f"self._call({call})"
    if returns.startswith("list[") and (one := _wrapped("one", node.returns)) != "one":
        body += [f"found = {call}", f"return [{one} for one in found]"]
    else:
        body.append(f"{'' if returns == 'None' else 'return '}{_wrapped(call, node.returns)}{mark}")
    return _indented([signature, *_quoted(_document(node)).splitlines(), *(f"    {line}" for line in body)])


def _indented(lines: list[str]) -> str:
    return "\n".join(f"    {line}".rstrip() for line in lines)


def _renamed(text: str) -> str:
    return re.sub(r"\b(" + "|".join(TWINS) + r")\b", lambda found: TWINS[found[0]], text)


def _arguments(args: ast.arguments) -> str:
    """The parameters of a method as the arguments of the same call."""
    given = [arg.arg for arg in [*args.posonlyargs, *args.args][1:]]
    given += [f"*{args.vararg.arg}"] if args.vararg else []
    return ", ".join([*given, *(f"{arg.arg}={arg.arg}" for arg in args.kwonlyargs)])


def _wrapped(value: str, returns: ast.expr | None) -> str:
    """An async handle, or each `value` of a list of them, as a blocking handle; anything else as it is."""
    text = "None" if returns is None else ast.unparse(returns)
    found = re.fullmatch(r"(?:list\[)?(AsyncRun|AsyncSchedule|Watch)\b(?:\[\w+\])*\]?", text)
    if found is None and re.search(r"\b(AsyncRun|AsyncSchedule|Watch)\b", text):
        raise AssertionError(f"a method returns {text}: only handles and lists of handles are made blocking ones")
    return WRAP[found[1]].format(value) if found else value


def main() -> None:
    """Write the files that differ, and name them."""
    for path in FACES:
        text, file = generated(path), ROOT / path
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
