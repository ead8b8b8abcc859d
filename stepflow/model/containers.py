"""containers: how lists, tuples, sets and dicts are written as JSON, with a look at the exact class of every element."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, MutableMapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from json import dumps
from typing import Any

from stepflow.model.forms import Form, Write, checked_plain
from stepflow.model.scalars import TypeMismatch, mismatch, short_repr

LIST, OBJECT = frozenset({"list"}), frozenset({"object"})
LISTS = (list, Sequence, MutableSequence)
DICTS = (dict, Mapping, MutableMapping)
SETS: dict[Any, type] = {set: set, MutableSet: set, frozenset: frozenset, AbstractSet: frozenset}


def _elements(name: str, element: Form) -> Callable[[Iterable[Any]], Iterable[Any]]:
    """Writes all elements; those that are their own JSON are not looked at one by one."""
    same, write = element.same, element.write

    def write_all(values: Iterable[Any]) -> Iterable[Any]:
        if same and same.issuperset(map(type, values)):
            return values
        try:
            return [write(value) for value in values]
        except TypeMismatch as error:
            if write is checked_plain:
                checked_plain(list(values))  # its refusal has the path
            raise TypeMismatch(f"an element of {name}: {error}") from None

    return write_all


def list_form(name: str, element: Form) -> Form:
    """The form of lists."""
    write_all = _elements(name, element)

    def write(value: Any) -> Any:
        if type(value) is not list:
            raise _no_list(value, list)
        return write_all(value)

    return Form(write, LIST, frozenset({list}))


def deque_form(name: str, element: Form) -> Form:
    """The form of deques without a maximal length, which would be lost."""
    write_all = _elements(name, element)

    def write(value: Any) -> Any:
        if type(value) is not deque:
            raise _no_list(value, deque)
        if value.maxlen is not None:
            raise TypeMismatch(f"{short_repr(value)} has a maxlen, which would be lost: give a deque without one")
        return list(write_all(value))

    return Form(write, LIST, frozenset({deque}))


def tuple_form(name: str, element: Form) -> Form:
    """The form of tuples of any length."""
    write_all = _elements(name, element)

    def write(value: Any) -> Any:
        if type(value) is not tuple:
            raise _no_list(value, tuple)
        return write_all(value)

    return Form(write, LIST, frozenset({tuple}))


def fixed_tuple_form(name: str, elements: list[Form], class_: Any = tuple) -> Form:
    """The form of tuples with one type per element, also of named ones."""
    writers = [form.write for form in elements]

    def write(value: Any) -> Any:
        if type(value) is not class_:
            raise _no_list(value, class_)
        if len(value) != len(writers):
            raise TypeMismatch(f"expected {len(writers)} elements of {name}, found {short_repr(value)}")
        if class_ is not tuple and getattr(value, "__dict__", None):
            raise TypeMismatch(f"{short_repr(value)} has attributes ({', '.join(vars(value))}), which would be lost")
        raw = []
        for n, (write, one) in enumerate(zip(writers, value, strict=True)):
            try:
                raw.append(write(one))
            except TypeMismatch as error:
                raise TypeMismatch(f"element {n} of {name}: {error}") from None
        return raw

    return Form(write, LIST, frozenset({class_}))


def set_form(name: str, class_: Any, element: Form) -> Form:
    """The form of sets, sorted: their order differs between processes, and equal values must have equal texts."""
    write_all = _elements(name, element)

    def write(value: Any) -> Any:
        if type(value) is not class_:
            raise mismatch(class_, value)
        raw = list(write_all(value))
        try:
            return sorted(raw)
        except TypeError:
            return sorted(raw, key=repr)

    return Form(write, LIST, frozenset({class_}))


def dict_form(name: str, class_: Any, key: Form, value: Form, factory: Any = None, ordered: bool = False) -> Form:
    """The form of dicts of exactly that class; every key becomes a text, and different keys different texts.

    `factory` is that of a defaultdict. With `ordered` the order of the keys counts.
    """
    write_key, write_value, same = key.key, value.write, value.same
    texts = key.same == _STR

    def items(given: Any) -> dict[str, Any]:
        if not texts or not _STR.issuperset(map(type, given)):
            given = {_written(write_key, one, f"a key of {name}"): child for one, child in given.items()}
        if same.issuperset(map(type, given.values())):
            return given  # type: ignore[no-any-return]
        try:
            return {one: write_value(child) for one, child in given.items()}
        except TypeMismatch as error:
            if write_value is checked_plain:
                checked_plain(dict(given))
            raise TypeMismatch(f"an element of {name}: {error}") from None

    def write(given: Any) -> Any:
        if type(given) is not class_:
            raise mismatch(class_, given)
        if class_ is defaultdict and given.default_factory is not factory:
            raise TypeMismatch(f"{short_repr(given)}: its default factory would be lost: give one with {factory!r}")
        raw = items(given)
        return [[dumps(one), child] for one, child in raw.items()] if ordered else raw

    return Form(write, OBJECT, frozenset({class_}))


_STR = frozenset({str})
MAPPINGS: dict[Any, type] = {dict: dict, OrderedDict: OrderedDict, Counter: Counter, defaultdict: defaultdict}


def _written(write: Write | None, value: Any, where: str) -> Any:
    if write is None:
        raise TypeMismatch(f"{where}: {short_repr(value)} cannot be a key")
    try:
        return write(value)
    except TypeMismatch as error:
        raise TypeMismatch(f"{where}: {error}") from None


def _no_list(value: Any, expected: type) -> TypeMismatch:
    """Texts and mappings are iterable, but not lists."""
    if isinstance(value, expected):
        return mismatch(expected, value)
    what = "list" if expected in (list, tuple) else expected.__qualname__
    remedy = f": give a {expected.__qualname__}" if isinstance(value, list | tuple | set | frozenset | deque) else ""
    return TypeMismatch(f"expected a {what}, found {short_repr(value)}{remedy}")
