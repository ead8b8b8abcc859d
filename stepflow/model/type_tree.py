"""type_tree: makes the form of any type, and finds each part of it that JSON cannot restore, with its path."""

from __future__ import annotations

import typing
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any

import attrs
from attrs import define, field

from stepflow.model.containers import (
    DICTS,
    LISTS,
    OBJECT,
    SETS,
    deque_form,
    dict_form,
    fixed_tuple_form,
    list_form,
    set_form,
    tuple_form,
)
from stepflow.model.fields import (
    computed,
    fields_of,
    has_fields,
    is_compared,
    is_qualifier,
    is_typed_dict,
    lacking_initvars,
    resolve_typed_dict,
    resolved,
    runs_code,
)
from stepflow.model.forms import (
    Form,
    Spelling,
    any_form,
    enum_form,
    exact,
    literal_form,
    merged,
    none_form,
    scalar_forms,
    subclass_form,
    text_form,
)
from stepflow.model.generics import arguments, substituted
from stepflow.model.objects import Part, object_form, object_form_without_defaults, typed_dict_form
from stepflow.model.pydantic_models import is_pydantic_model, model_form, model_problem

_KINDS = (
    "dataclasses, attrs classes, pydantic models, typed dicts, named tuples, enums, texts, numbers, dates and times with a zone, UUID, "
    "Decimal, bytes, and lists, tuples, sets and dicts of them"
)


def type_name(type_: Any) -> str:
    """The name of a type as it is written in code."""
    return str(type_) if typing.get_args(type_) else getattr(type_, "__qualname__", None) or str(type_)


@define
class _Later:
    """Writes with a form that is not complete yet: a class may have fields of its own type."""

    write: Callable[[Any], Any] = field(init=False)

    def __call__(self, value: Any) -> Any:
        return self.write(value)


class TypeTree:
    """The forms of a type and of all types inside it, in one spelling.

    `problems` lists the types that cannot be stored, each with its path, e.g. `Order.lines[].price: ...`. `runs_code` tells
    whether a class has code of its own that runs when an object is made again, `is_plain_class` whether the type itself is a class of the
    program without fields, which can be no part of JSON.
    """

    def __init__(self, spelling: Spelling) -> None:
        self.problems: list[str] = []
        self.unresolved = 0  # how many of them are names that do not exist, or not yet
        self.runs_code = False
        self.is_plain_class = False
        self._spelling = spelling
        self._scalars = scalar_forms(spelling)
        self._known: dict[Any, Form] = {}
        self._aliases: list[Any] = []
        self._said: set[str] = set()

    def form(self, type_: Any, path: str) -> Form:
        """The form of a type; of one that cannot be stored, a form that nothing writes."""
        try:
            found = self._known.get(type_)
        except TypeError:  # e.g. an Annotated with a list
            return self._made(type_, path)
        if found is None:
            found = self._known[type_] = self._made(type_, path)
        return found

    def _refused(self, type_: Any, path: str, why: str) -> Form:
        name = type_name(type_)
        if why in self._said:
            why = why.partition(":")[0]
        self._said.add(why)
        self.problems.append(f"{name} {why}" if path == name else f"{path}: {name} {why}")
        return any_form(self._spelling)

    def _made(self, type_: Any, path: str) -> Form:
        if type_ is Any or type_ is object or isinstance(type_, typing.TypeVar):
            return any_form(self._spelling)
        if type_ is None or type_ is NoneType:
            return none_form()
        origin = typing.get_origin(type_)
        if is_qualifier(origin):
            return self.form(typing.get_args(type_)[0], path)
        if isinstance(type_, typing.NewType):
            return self.form(type_.__supertype__, path)
        if hasattr(type_, "__value__"):
            return self._alias(type_, path)
        if origin in (typing.Union, UnionType):
            return self._union(type_, path)
        if origin is typing.Literal:
            return self._or_refused(type_, path, literal_form(type_, typing.get_args(type_)))
        owner = origin or type_
        if (form := self._container(type_, owner, path)) is not None:
            return form
        if isinstance(owner, type):
            return self._class(type_, owner, path)
        if isinstance(type_, str):
            return self._refused(type_, path, f"is the text {type_!r:.80}, not a type: give the type itself")
        return self._refused(type_, path, f"cannot be restored from JSON: make it one of {_KINDS}")

    def _unresolved(self, type_: Any, path: str, error: NameError) -> Form:
        self.unresolved += 1
        return self._refused(type_, path, f"has an annotation that cannot be read: {error}: {_TOP_LEVEL}")

    def _or_refused(self, type_: Any, path: str, made: Form | str) -> Form:
        return self._refused(type_, path, made) if isinstance(made, str) else made

    def _alias(self, type_: Any, path: str) -> Form:
        """The form of `type X = ...`."""
        if type_ in self._aliases:
            return self._refused(type_, path, "contains itself: use a class with fields for it")
        self._aliases.append(type_)
        try:
            return self.form(substituted(type_.__value__, arguments(type_)), path)
        finally:
            self._aliases.pop()

    def _union(self, type_: Any, path: str) -> Form:
        if any(one in (Any, object) or isinstance(one, typing.TypeVar) for one in typing.get_args(type_)):
            return any_form(self._spelling)
        before = len(self.problems)
        members = [(type_name(one), self.form(one, path)) for one in typing.get_args(type_)]
        if len(self.problems) > before:
            return any_form(self._spelling)
        objects = [one for one in typing.get_args(type_) if self.form(one, path).kinds == OBJECT]
        if len(objects) > 1:
            try:
                why = apart(objects)
            except NameError as error:
                return self._unresolved(type_, path, error)
            return self._refused(type_, path, why) if why else self._objects(members)
        return self._or_refused(type_, path, merged(members, self._spelling.canonical))

    def _objects(self, members: list[tuple[str, Form]]) -> Form:
        forms = [(name, attrs.evolve(form, kinds=form.kinds - OBJECT)) for name, form in members]
        found = merged(forms, self._spelling.canonical)
        return found if isinstance(found, Form) else any_form(self._spelling)

    def _container(self, type_: Any, owner: Any, path: str) -> Form | None:
        args, name = typing.get_args(type_), type_name(type_)
        if not isinstance(owner, Hashable):
            return None
        if owner in LISTS:
            return list_form(name, self._argument(args, 0, f"{path}[]"))
        if owner is deque:
            return deque_form(name, self._argument(args, 0, f"{path}[]"))
        if owner in SETS:
            return set_form(name, SETS[owner], self._argument(args, 0, f"{path}[]"))
        if owner is tuple:
            return self._tuple(type_, args, path)
        if owner in DICTS:
            return self._dict(name, dict, args, path)
        if owner is Counter:
            return self._dict(name, Counter, (*args, int) if args else (), path)
        if owner is OrderedDict:
            return self._dict(name, OrderedDict, args, path)
        if owner is defaultdict and args:
            return self._dict(name, defaultdict, args, path)
        return None

    def _argument(self, args: tuple[Any, ...], index: int, path: str) -> Form:
        """The form of a type argument, of Any if there are none."""
        return self.form(args[index] if args else Any, path)

    def _tuple(self, type_: Any, args: tuple[Any, ...], path: str) -> Form:
        if type_ is tuple or type_ is typing.Tuple or (len(args) == 2 and args[1] is Ellipsis):  # noqa: UP006
            return tuple_form(type_name(type_), self._argument(args, 0, f"{path}[]"))
        forms = [self.form(one, f"{path}[{n}]") for n, one in enumerate(args)]
        return fixed_tuple_form(type_name(type_), forms)

    def _dict(self, name: str, class_: type, args: tuple[Any, ...], path: str) -> Form:
        key = self._argument((args or (str,)), 0, f"a key of {path}")
        if args and args[0] in (Any, object):
            key = self._scalars[str]
        value = self._argument(args[1:], 0, f"{path}{{}}")
        if key.key is None:
            return self._refused(
                args[0],
                f"a key of {path}",
                "cannot be a key of a JSON object: make it one of text, number, date, UUID or enum",
            )
        factory = typing.get_origin(args[1]) or args[1] if class_ is defaultdict else None
        ordered = class_ is OrderedDict and self._spelling.canonical
        return dict_form(name, class_, key, value, factory, ordered)

    def _class(self, type_: Any, owner: type, path: str) -> Form:
        if issubclass(owner, Enum):
            return self._or_refused(type_, path, enum_form(owner))
        if owner in self._scalars:
            return self._scalars[owner]
        if has_fields(owner):
            return self._fields(type_, path)
        if is_typed_dict(owner):
            return self._typed_dict(type_, owner, path)
        if issubclass(owner, tuple) and hasattr(owner, "_fields"):
            return self._named_tuple(type_, owner, path)
        for base in (str, int, float):
            if issubclass(owner, base):
                self.runs_code |= owner.__new__ is not base.__new__ or owner.__init__ is not base.__init__
                return subclass_form(owner, base)
        if owner.__name__ in ("Path", "PosixPath") and owner.__module__.split(".")[0] == "pathlib":
            made = type(owner())
            return text_form(made, exact(made, str))
        if is_pydantic_model(owner):
            return self._model(owner, path)
        if path == type_name(type_):
            self.is_plain_class = owner.__module__ not in ("builtins", "collections.abc")
        return self._refused(type_, path, f"cannot be restored from JSON: make it one of {_KINDS}")

    def _model(self, owner: Any, path: str) -> Form:
        try:
            problem = model_problem(owner)
        except NameError as error:
            return self._unresolved(owner, path, error)
        self.runs_code = True
        return self._refused(owner, path, problem) if problem else model_form(owner, self._spelling)

    def _fields(self, type_: Any, path: str) -> Form:
        later, owner = _Later(), typing.get_origin(type_) or type_
        if path == type_name(type_) or " | " in path.partition(".")[0]:
            path = owner.__qualname__  # the root
        self._known[type_] = Form(later, OBJECT, frozenset({owner}))
        if owner is type_ and hasattr(owner, "__parameters__") and owner.__parameters__:
            return self._refused(type_, path, f"is generic: give its type arguments, e.g. {owner.__qualname__}[int]")
        try:
            resolved(type_)
        except NameError as error:
            return self._unresolved(type_, path, error)
        if lacking := lacking_initvars(owner):
            return self._refused(
                type_, path, f"cannot be made again without InitVar {', '.join(lacking)}: give it a default"
            )
        given = {**arguments(type_), typing.Self: type_}
        strict = not runs_code(owner)
        self.runs_code |= not strict
        parts = [
            Part(one.name, one, self.form(_field_type(one, given), f"{path}.{one.name}"))
            for one in fields_of(owner)
            if not computed(owner, one) and (is_compared(one) or not self._spelling.canonical)
        ]
        make = object_form_without_defaults(owner, parts) if self._spelling.omit else object_form(owner, parts, strict)
        later.write = make.write
        return make

    def _typed_dict(self, type_: Any, owner: Any, path: str) -> Form:
        later = _Later()
        self._known[type_] = Form(later, OBJECT, frozenset({dict}))
        given = {**arguments(type_), typing.Self: type_}
        try:
            hints = resolve_typed_dict(owner)
        except NameError as error:
            return self._unresolved(type_, path, error)
        form = typed_dict_form(
            owner, {name: self.form(substituted(hint, given), f"{path}.{name}") for name, hint in hints.items()}
        )
        later.write = form.write
        return form

    def _named_tuple(self, type_: Any, owner: Any, path: str) -> Form:
        if typing.get_args(type_):
            return self._refused(type_, path, "is a generic named tuple: use a dataclass")
        later = _Later()
        self._known[type_] = Form(later, frozenset({"list"}), frozenset({owner}))
        hints = typing.get_type_hints(owner, include_extras=True)
        forms = [self.form(hints.get(name, Any), f"{path}.{name}") for name in owner._fields]
        self.runs_code |= not owner.__new__.__code__.co_filename.startswith("<") or "__init__" in vars(owner)
        form = fixed_tuple_form(owner.__qualname__, forms, owner)
        later.write = form.write
        return form


_TOP_LEVEL = "define it at the top level of its module, not inside a function or `if TYPE_CHECKING`"


def _field_type(one: Any, given: dict[Any, Any]) -> Any:
    """The type of a field; attrs fields may have none."""
    return substituted(Any if one.type is None else one.type, given)


def apart(objects: list[Any]) -> str:
    """Why the JSON objects of these types cannot be told from each other; empty if they can."""
    for n, one in enumerate(objects):
        for other in objects[:n]:
            if not (has_fields(one) and has_fields(other)):
                return f"has two members whose JSON is an object ({type_name(other)}, {type_name(one)}): use attrs classes or dataclasses"
            if stored_names(one) == stored_names(other) and not (tags(one) and disjoint(one, other)):
                return (
                    f"has two members with the same fields ({type_name(other)}, {type_name(one)}): "
                    'give each a field that tells them apart, e.g. kind: Literal["..."]'
                )
    return ""


@lru_cache(maxsize=512)
def stored_names(type_: Any) -> frozenset[str]:
    """The names of the fields that are stored of a class."""
    owner = typing.get_origin(type_) or type_
    return frozenset(one.name for one in fields_of(owner) if not computed(owner, one))


@lru_cache(maxsize=512)
def tags(type_: Any) -> dict[str, frozenset[Any]]:
    """The fields of a class that have only a few JSON values, e.g. a Literal, with these values."""
    tree, owner, given = TypeTree(Spelling()), resolved(type_), arguments(type_)
    found = {}
    for one in fields_of(owner):
        kind = _field_type(one, given)
        if typing.get_origin(kind) is typing.Literal or (isinstance(kind, type) and issubclass(kind, Enum)):
            values = tree.form(kind, one.name).values
            if values is not None:
                found[one.name] = values
    return found


def disjoint(one: Any, other: Any) -> bool:
    """Whether a field that both classes have never has the same value in both."""
    theirs = tags(other)
    return any(name in theirs and not values & theirs[name] for name, values in tags(one).items())
