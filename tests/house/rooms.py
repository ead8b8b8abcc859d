"""The rooms of `engine/` and `drivers/` as rules: which room may import which, and who may change whose attributes."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

from tests.house.source_tree import PACKAGE, Module, Tree

ENGINE = f"{PACKAGE}.engine."
SHARED = {
    "checks",
    "clock",
    "health",
    "lifetime",
    "intents",
    "step_failure",
    "store_reader",
    "threads",
}  # files, and the room below all others, that every room may import
MAY_IMPORT_ROOM: dict[str, set[str]] = {
    "membership": set(),
    "commit": {"membership"},
    "execution": {"commit"},
    "states": {"membership", "commit", "execution"},
    "remote": {"membership", "commit", "execution", "states"},
    "client": {"membership", "commit"},
    "worker": {"membership", "commit", "execution", "states"},
    "instrument": {"commit", "execution", "states", "client", "worker"},
    "session": {
        "membership",
        "commit",
        "execution",
        "states",
        "client",
        "worker",
        "remote",
        "instrument",
        "flow_engine",
        "blocking",
    },
    "flow_engine": {"states", "client"},
    "jumps": set(),
    "async_engine": {"states", "client", "remote", "instrument", "flow_engine", "session", "jumps"},
    "blocking": {"states", "client", "remote", "instrument", "flow_engine", "async_engine", "jumps"},
} | {name: set() for name in SHARED}


DRIVERS = f"{PACKAGE}.drivers."
FOR_ALL = {"port", "payload"}  # folders of `drivers/` that are no drivers
DRIVER_USERS: dict[str, set[str]] = {
    "memory": {"testing", ""},  # the reference model; the door has its name
    "http": {"server"},  # its codec: what goes over the wire
}  # the parts of the package that know a driver beside the registry


def _room(name: str) -> str:
    """The room of a module of the engine: its folder, or its own name beside the folders; empty for other modules."""
    return name.removeprefix(ENGINE).split(".")[0] if name.startswith(ENGINE) else ""


def wrong_room_imports(tree: Tree) -> list[str]:
    """Imports between rooms of the engine that the table does not allow."""
    wrong = []
    for module in tree.modules.values():
        room = _room(module.name)
        for item in module.imports:
            other = _room(tree.resolve(item.target))
            if room and other and other != room and other not in MAY_IMPORT_ROOM.get(room, set()) | SHARED:
                wrong.append(f"{module.path}:{item.line} imports {item.target}: {room} may not use {other}")
    return wrong


def wrong_driver_imports(tree: Tree) -> list[str]:
    """Imports of a driver by another one or by a part that has to use the port, and imports of others by the port."""
    below = [name.removeprefix(DRIVERS).split(".") for name in tree.modules if name.startswith(DRIVERS)]
    drivers, wrong = {folder for folder, *files in below if files} - FOR_ALL, []
    for module in tree.modules.values():
        mine = module.name.removeprefix(DRIVERS).split(".")[0] if module.name.startswith(DRIVERS) else None
        for item in module.imports:
            target = tree.resolve(item.target)
            if not target.startswith(DRIVERS) or (other := target.removeprefix(DRIVERS).split(".")[0]) == mine:
                continue
            if mine is None:
                allowed = other not in drivers or module.part in DRIVER_USERS.get(other, set())
            else:
                allowed = other == "port" and mine != "port"
            if not allowed:
                wrong.append(f"{module.path}:{item.line} imports {item.target}: use `drivers/port` and the registry")
    return wrong


def unknown_rooms(tree: Tree) -> list[str]:
    """Rooms that the table does not know, and shared files that import a room."""
    rooms = {room for name in tree.modules if (room := _room(name))}
    wrong = [f"put {room!r} of the engine into the table of rooms" for room in sorted(rooms - MAY_IMPORT_ROOM.keys())]
    for module in tree.modules.values():
        if (room := _room(module.name)) in SHARED:
            used = {_room(tree.resolve(item.target)) for item in module.imports} - SHARED - {""}
            wrong += [f"{module.path} is shared by all rooms: it may not use {other}" for other in sorted(used)]
    return wrong


def foreign_attributes(tree: Tree) -> list[str]:
    """Assignments `other.attribute = value` in the engine: wiring after construction.

    A part, i.e. a plain class, changes its own attributes alone. The fields of a record (an attrs class, or one with
    `__slots__`) may be changed by those that use it, but not to a function. An object is still under construction in the
    function that made it.
    """
    fields, functions = set[str](), set[str]()
    for module in tree.modules.values():
        fields |= set(_record_fields(module))
        if _room(module.name):
            functions |= {f.name for f in module.functions if not _is_property(f)}
    wrong = []
    for module in tree.modules.values():
        for function in module.functions if _room(module.name) else ():
            made = {n.targets[0].id for n in ast.walk(function) if _makes(n)}
            wrong += [f"{module.path}:{line} calls setattr for another part" for line in _set_by_name(function)]
            for target, value in _assignments(function):
                owner = target.value
                if isinstance(owner, ast.Name) and owner.id in made | {"self", "cls"}:
                    continue
                if target.attr not in fields:
                    wrong.append(
                        f"{module.path}:{target.lineno} sets .{target.attr} of another part: hand it down at construction"
                    )
                elif _is_function(value, functions - fields):
                    wrong.append(
                        f"{module.path}:{target.lineno} sets .{target.attr} to a function: hand it down at construction"
                    )
    return sorted(set(wrong))


def _record_fields(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.ClassDef):
            marks = {module._full(m.func if isinstance(m, ast.Call) else m) for m in node.decorator_list}
            for item in node.body:
                if (
                    isinstance(item, ast.AnnAssign)
                    and isinstance(item.target, ast.Name)
                    and marks & {"attrs.define", "attrs.frozen"}
                ):
                    yield item.target.id
                elif isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "__slots__":
                    yield from ast.literal_eval(item.value)


def _assignments(function: ast.AST) -> Iterator[tuple[ast.Attribute, ast.expr | None]]:
    """Assigned attributes with their values; None for a value that is not written beside its target."""
    for node in ast.walk(function):
        if isinstance(node, ast.AugAssign | ast.AnnAssign) and isinstance(node.target, ast.Attribute):
            yield node.target, node.value
        for target in node.targets if isinstance(node, ast.Assign) else ():
            values = node.value.elts if isinstance(node.value, ast.Tuple) else None
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            for number, part in enumerate(parts):
                if isinstance(part, ast.Attribute):
                    pairs = values is not None and isinstance(target, ast.Tuple) and len(values) == len(parts)
                    yield part, values[number] if pairs else None if isinstance(target, ast.Tuple) else node.value


def _set_by_name(function: ast.AST) -> Iterator[int]:
    """The lines of calls of setattr for anything but the function's own object."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("setattr", "__setattr__"):
            yield from () if node.args and ast.unparse(node.args[0]) in ("self", "cls") else (node.lineno,)


def _makes(node: ast.AST) -> bool:
    """Whether this is `name = Class(...)`."""
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).split(".")[-1].lstrip("_")[:1].isupper()
    )


def _is_property(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("property" in ast.unparse(mark) for mark in function.decorator_list)


def _is_function(value: ast.expr | None, functions: set[str]) -> bool:
    name = value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""
    return isinstance(value, ast.Lambda) or name in functions


def names_used_twice(tree: Tree) -> list[str]:
    """Class names that two classes of the package have; an underscore before one makes no other word of it."""
    paths = defaultdict(list)
    for module in tree.modules.values():
        for node in module.nodes:
            if isinstance(node, ast.ClassDef):
                paths[node.name.lstrip("_")].append(f"{module.path}:{node.lineno}")
    return [f"{name} is a class in {' and in '.join(found)}" for name, found in paths.items() if len(found) > 1]


RULES = (wrong_room_imports, wrong_driver_imports, unknown_rooms, foreign_attributes, names_used_twice)
