"""The architecture as rules: each function takes a source tree and returns what breaks its rule."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from statistics import median, quantiles

from tests.house.source_tree import PACKAGE, Module, Tree

_LOW = {"errors", "model"}
_MIDDLE = _LOW | {"steps", "replay", "drivers"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "model": {"errors"},
    "steps": _LOW,
    "replay": _LOW,
    "drivers": _LOW,
    "engine": _MIDDLE,
    "wire": _MIDDLE | {"engine"},
    "testing": _MIDDLE | {"engine"},
    "remote": _MIDDLE | {"engine", "wire"},
    "server": _MIDDLE | {"engine", "wire"},
    "cli": _MIDDLE | {"engine", "wire", "testing", "remote", "server"},
    "": _MIDDLE | {"engine"},
    "__main__": {"cli"},
}
PURE = {"model", "steps", "replay"}
CLOCK_FILE = "stepflow.engine.clock"
LOCK_FILE = "stepflow.drivers.sqlite.locks"  # measures waits, as the server's clock does for PostgreSQL
# A report shows how old things are, and an engine reads the clock that it goes by.
TIME_FILES = {"stepflow.drivers.postgres.conditions", "stepflow.drivers.postgres.server_clock"}
IMPURE_MODULES = {
    "asyncio", "fcntl", "http", "io", "logging", "os", "pathlib", "random", "secrets", "select", "shutil", "signal",
    "socket", "sqlite3", "subprocess", "sys", "tempfile", "threading", "time", "urllib",
}  # fmt: skip
IMPURE_NAMES = {"open", "print", "input", "uuid.uuid1", "uuid.uuid4", "uuid.uuid7"}
CLOCK_READS = re.compile(
    r"^time\.(time|monotonic|perf_counter|process_time|thread_time|localtime|gmtime|clock_gettime)(_ns)?$"
    r"|^datetime\.datetime\.(now|utcnow|today)$|^datetime\.date\.today$|(^|[._])loop(\(\))?\.time$"
)
SQL_CLOCK = re.compile(
    r"\bnow\s*\(\s*\)|CURRENT_TIME|julianday|unixepoch|'now'|clock_timestamp|statement_timestamp", re.I
)
EXTRAS = {
    "click",
    "rich",
    "hypothesis",
    "pytest",
    "starlette",
    "uvicorn",
    "jinja2",
    "markupsafe",
    "msgspec",
    "urllib3",
    "httpx2",
    "google",
    "anyio",
    "psycopg",
    "rocksdict",
    "sqlalchemy",
    "cryptography",
    "pydantic",
    "opentelemetry",
    "prometheus_client",
    "xxhash",
}
MAX_FILE, MEDIAN_FILE = 400, 150
MAX_FUNCTION, P90_FUNCTION, MEDIAN_FUNCTION = 60, 30, 8
MAX_PORT = 10
BACKGROUND = "stepflow.drivers.port.background"
FORK_FILES = {"stepflow.drivers.port.process_fork", "stepflow.engine.lifetime"}
PORT, KIT = "stepflow.drivers.port.store", "stepflow.testing.conformance"


def _inside(tree: Tree, module: Module) -> Iterator[tuple[str, int]]:
    """The package's own modules that `module` imports, with the line."""
    for item in module.imports:
        if item.target.split(".")[0] == PACKAGE:
            yield tree.resolve(item.target), item.line


def upward_arrows(tree: Tree) -> list[str]:
    """Imports that leave the direction `errors, model <- steps, replay, drivers <- engine <- … <- cli`."""
    wrong = []
    for module in tree.modules.values():
        for target, line in _inside(tree, module):
            part = tree.modules[target].part
            if part and part != module.part and part not in MAY_IMPORT.get(module.part, set()):
                wrong.append(f"{module.path}:{line} imports {target}: {module.part or 'the door'} may not use {part}")
    return wrong


def unknown_parts(tree: Tree) -> list[str]:
    """Top-level parts that the layer table does not know."""
    return sorted(
        {f"{m.path}: put {m.part!r} into the layer table" for m in tree.modules.values() if m.part not in MAY_IMPORT}
    )


def cycles(tree: Tree) -> list[str]:
    """One cycle of imports, if there is any."""
    graph = {name: {t for t, _ in _inside(tree, m) if t != name} for name, m in tree.modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def door_from_inside(tree: Tree) -> list[str]:
    """Imports of the public door, which nobody inside may use."""
    return [
        f"{m.path}:{line} imports the door; import from the module that defines the name"
        for m in tree.modules.values()
        for target, line in _inside(tree, m)
        if target == PACKAGE and m.name != PACKAGE
    ]


def shadowing_door_names(tree: Tree) -> list[str]:
    """Names in the door that are also a module of the package."""
    door = tree.modules[PACKAGE]
    names = {n.partition(".")[2] for n in tree.modules if n.count(".") == 1}
    return sorted(f"the door exports {a!r}, which is also stepflow.{a}" for a in names & set(door.aliases))


def impure(tree: Tree) -> list[str]:
    """Clocks, chance and I/O in the pure packages."""
    wrong = []
    for module in tree.modules.values():
        if module.part in PURE:
            wrong += [
                f"{module.path}:{i.line} imports {i.target}: {module.part} is pure"
                for i in module.imports
                if i.target.split(".")[0] in IMPURE_MODULES
            ]
            wrong += [
                f"{module.path}:{line} uses {name}: {module.part} is pure"
                for name, line in module.uses()
                if name in IMPURE_NAMES
            ]
    return wrong


def clock_reads(tree: Tree) -> list[str]:
    """Clock reads outside the one file that may do it, also those in SQL texts."""
    wrong = []
    for module in tree.modules.values():
        if module.name in (CLOCK_FILE, LOCK_FILE):
            continue
        wrong += [
            f"{module.path}:{line} reads a clock: {name}" for name, line in module.uses() if CLOCK_READS.search(name)
        ]
        if module.part == "drivers" and module.name not in TIME_FILES:
            wrong += [
                f"{module.path}:{line} asks the store for the time"
                for text, line in _texts(module)
                if SQL_CLOCK.search(text)
            ]
    return wrong


def _texts(module: Module) -> Iterator[tuple[str, int]]:
    """String constants that are no docstrings."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {
        id(n.body[0].value)
        for n in module.nodes
        if isinstance(n, holders) and n.body and isinstance(n.body[0], ast.Expr)
    }
    for node in module.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value, node.lineno


def unguarded_threads(tree: Tree) -> list[str]:
    """Threads without a Guard, waits for a thread that may have no end, and fork handlers that pile up."""
    wrong = []
    for module in tree.modules.values():
        if module.part == "testing":
            continue
        guarded = any(i.target.startswith(BACKGROUND) for i in module.imports)
        for name, line in module.uses():
            if name in ("threading.Thread", "threading.Timer") and not guarded and module.name != BACKGROUND:
                wrong.append(f"{module.path}:{line} starts a thread without a Guard")
            if name == "os.register_at_fork" and module.name not in FORK_FILES:
                wrong.append(f"{module.path}:{line} registers a fork handler: use on_fork")
        wrong += [
            f"{module.path}:{node.lineno} waits for a thread that may never end: use join of {BACKGROUND}"
            for node in module.nodes
            if isinstance(node, ast.Call) and not node.args and re.search("thread.join$", ast.unparse(node.func))
        ]
    return wrong


def inner_imports(tree: Tree) -> list[str]:
    """Imports inside functions of anything but an optional extra, or a module of ours that needs one."""
    return [
        f"{m.path}:{i.line} imports {i.target} inside a function"
        for m in tree.modules.values()
        for i in m.imports
        if i.inner and not _needs_extra(tree, i.target)
    ]


def _needs_extra(tree: Tree, target: str) -> bool:
    left, seen = [target], {"", PACKAGE}
    while left:
        one = left.pop()
        if one.split(".", maxsplit=1)[0] in EXTRAS:
            return True
        if (name := tree.resolve(one)) not in seen:
            seen.add(name)
            left += [i.target for i in tree.modules[name].imports if not i.inner]
    return False


def missing_jobs(tree: Tree) -> list[str]:
    """Files whose first docstring line does not say their one job, or says that of another file."""
    wrong, jobs = [], {}
    for module in tree.modules.values():
        job = (ast.get_docstring(module.tree) or "").split("\n")[0]
        if len(job) < 15 or not job.endswith((".", ":", ";")):
            wrong.append(f"{module.path}: the first docstring line {job!r} does not say its job in a sentence")
        elif job in jobs:
            wrong.append(f"{module.path}: same job as {jobs[job]}")
        jobs[job] = module.path
    return wrong


def leftovers(tree: Tree) -> list[str]:
    """Stubs, marked gaps and hidden state: what a finished file does not have."""
    gap = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError|^\s*global \w", re.M)
    return [f"{m.path}: {found.group().strip()}" for m in tree.modules.values() if (found := gap.search(m.text))]


def too_large(tree: Tree) -> list[str]:
    """Files and functions over their budgets, and medians over theirs."""
    files = [m.lines for m in tree.modules.values() if m.lines > 5]
    functions = [(f.end_lineno or 0) - f.lineno + 1 for m in tree.modules.values() for f in m.functions]
    wrong = [f"{m.path}: {m.lines} lines, at most {MAX_FILE}" for m in tree.modules.values() if m.lines > MAX_FILE]
    wrong += [
        f"{m.path}:{f.lineno} {f.name}: {size} lines, at most {MAX_FUNCTION}"
        for m in tree.modules.values()
        for f in m.functions
        if (size := (f.end_lineno or 0) - f.lineno + 1) > MAX_FUNCTION
    ]
    if files and median(files) > MEDIAN_FILE:
        wrong.append(f"the median file has {median(files)} lines, at most {MEDIAN_FILE}")
    if functions and median(functions) > MEDIAN_FUNCTION:
        wrong.append(f"the median function has {median(functions)} lines, at most {MEDIAN_FUNCTION}")
    if len(functions) > 1 and (p90 := quantiles(functions, n=10)[-1]) > P90_FUNCTION:
        wrong.append(f"one function in ten has more than {p90:.0f} lines, at most {P90_FUNCTION}")
    return wrong


def wide_ports(tree: Tree) -> list[str]:
    """Ports with more than ten methods to be implemented."""
    return [
        f"{module.path}:{node.lineno} {node.name}: {n} abstract methods, at most {MAX_PORT}"
        for module in tree.modules.values()
        for node in module.nodes
        if isinstance(node, ast.ClassDef) and (n := sum(map(_is_abstract, node.body))) > MAX_PORT
    ]


def _is_abstract(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
        isinstance(mark, ast.Name) and mark.id == "abstractmethod" for mark in node.decorator_list
    )


def unproved_laws(tree: Tree) -> list[str]:
    """Numbered laws of the port without a test in the conformance kit that is named after the number, and the reverse."""
    port = tree.modules.get(PORT)
    if port is None:
        return []
    stated = set(re.findall(r"^    (\d+)\. ", port.text, re.M))
    kit = [m for name, m in tree.modules.items() if name.startswith(KIT)]
    tested = {number for m in kit for f in m.functions for number in re.findall(r"^test_law_(\d+)_", f.name)}
    return [
        f"law {n} is stated in {port.path}, but no test of the kit is named after it" for n in sorted(stated - tested)
    ] + [f"a test of the kit is named after law {n}, which {port.path} does not state" for n in sorted(tested - stated)]


RULES = (
    upward_arrows, unknown_parts, cycles, door_from_inside, shadowing_door_names, impure, clock_reads, unguarded_threads, inner_imports,
    missing_jobs, leftovers, too_large, wide_ports, unproved_laws,
)  # fmt: skip
