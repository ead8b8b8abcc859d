"""The source tree as data: modules, their imports, calls and functions, for the architecture rules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from attrs import define, frozen

PACKAGE = "stepflow"


@frozen
class Import:
    """One import: `target` is the module (or name in a module) as written in full, `inner` true inside a function."""

    target: str
    line: int
    inner: bool


@define(slots=False)
class Module:
    """One source file under its dotted name; `stepflow` itself is the door."""

    name: str
    path: str
    text: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the tree: every rule looks at them."""
        return list(ast.walk(self.tree))

    def _outside(self) -> Iterator[ast.AST]:
        """The nodes that are in no function, and the functions."""
        left: list[ast.AST] = [self.tree]
        while left:
            node = left.pop()
            yield node
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                left += ast.iter_child_nodes(node)

    @property
    def part(self) -> str:
        """The top-level part of the package that it belongs to, e.g. `engine`; empty for the door."""
        return self.name.split(".")[1] if "." in self.name else ""

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @cached_property
    def imports(self) -> list[Import]:
        """Every import, also those inside functions and `if TYPE_CHECKING`."""
        outer = {id(node) for node in self._outside()}
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [Import(a.name, node.lineno, id(node) not in outer) for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                found += [Import(f"{base}.{a.name}", node.lineno, id(node) not in outer) for a in node.names]
        return found

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        here = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
        up = here[: len(here) - node.level + 1]
        return ".".join([*up, node.module] if node.module else up)

    @cached_property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        return [n for n in self.nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Local name -> full name, for everything imported anywhere in the file."""
        names: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                names |= {
                    a.asname or a.name.split(".")[0]: (a.asname and a.name) or a.name.split(".")[0] for a in node.names
                }
            elif isinstance(node, ast.ImportFrom):
                names |= {a.asname or a.name: f"{self._base(node)}.{a.name}" for a in node.names}
        return names

    def uses(self) -> Iterator[tuple[str, int]]:
        """Every name or dotted name that is read, spelled in full through the imports, with its line; no arguments."""
        for node in self.nodes:
            if (
                isinstance(node, ast.Name | ast.Attribute)
                and node not in self._arguments
                and (name := self._full(node))
            ):
                yield name, node.lineno

    @cached_property
    def _arguments(self) -> set[ast.AST]:
        """Where a function reads one of its arguments."""
        found: set[ast.AST] = set()
        for function in self.functions:
            given = function.args
            names = {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
            found |= {node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id in names}
        return found

    def _full(self, node: ast.expr) -> str:
        if isinstance(node, ast.Call):
            base = self._full(node.func)
            return f"{base}()" if base else ""
        if isinstance(node, ast.Attribute):
            base = self._full(node.value)
            return f"{base}.{node.attr}" if base else ""
        return self.aliases.get(node.id, node.id) if isinstance(node, ast.Name) else ""


@define(slots=False)
class Tree:
    """All modules of the package, by dotted name."""

    modules: dict[str, Module]

    @classmethod
    def read(cls, root: Path) -> Tree:
        """The package below `root`, a directory that holds `stepflow/`."""
        return cls.of({str(p.relative_to(root)): p.read_text() for p in sorted((root / PACKAGE).rglob("*.py"))})

    @classmethod
    def of(cls, files: dict[str, str]) -> Tree:
        """A tree from path -> text, e.g. `{"stepflow/model/x.py": "..."}`."""
        modules = {}
        for path, text in files.items():
            parts = path.removesuffix(".py").split("/")
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            modules[name] = Module(name, path, text, is_package)
        return cls(modules)

    def resolve(self, target: str) -> str:
        """The longest known module that `target` names, empty for foreign ones."""
        while target and target not in self.modules:
            target = target.rpartition(".")[0]
        return target
