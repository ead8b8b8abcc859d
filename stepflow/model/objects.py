"""objects: how attrs classes, dataclasses and typed dicts are written as JSON objects.

The writer of a class is generated as source text: a step writes its exchange each time, and a loop over fields would cost
twice as much. It looks at the exact class of each field, because what is read back has exactly the declared class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Any

from attrs import frozen

from stepflow.model.containers import OBJECT
from stepflow.model.fields import (
    REQUIRED,
    default_of,
    field_names,
    has_dict,
    has_fields,
    undeclared,
)
from stepflow.model.forms import Form, Write
from stepflow.model.scalars import TypeMismatch, short_repr


@frozen
class Part:
    """One stored field: its description by attrs or dataclasses, and the form of its type."""

    name: str
    field: Any
    form: Form


def object_form(owner: Any, parts: list[Part], strict: bool) -> Form:
    """The form of objects of exactly the class `owner`; with `strict`, attributes that it does not declare are refused."""
    refuse = _refusing(owner, parts)
    source, scope = _source(owner, parts, strict)
    scope["refuse"] = refuse
    exec(compile(source, f"<writer of {owner.__qualname__}>", "exec"), scope)  # noqa: S102 - the text is made of field names
    write: Write = scope["write"]
    return Form(write, OBJECT, frozenset({owner}), again=_again(owner, parts) if strict else None)


def _again(owner: Any, parts: list[Part]) -> Callable[[Any], Any] | None:
    """Makes an object of the same class with the same fields, if all of these are their own JSON and the constructor takes them."""
    if not all(part.field.init and part.form.classes and part.form.classes <= part.form.same for part in parts):
        return None
    taken = ", ".join(f"{getattr(part.field, 'alias', part.name)}=value.{part.name}" for part in parts)
    made: Callable[[Any], Any] = eval(f"lambda value: owner({taken})", {"owner": owner})  # noqa: S307 - made of field names
    return made


def _source(owner: Any, parts: list[Part], strict: bool) -> tuple[str, dict[str, Any]]:
    scope: dict[str, Any] = {"owner": owner, "TypeMismatch": TypeMismatch, "AttributeError": AttributeError}
    lines = ["if type(value) is not owner: refuse(value)"]
    known, slots = undeclared(owner)
    if strict and has_dict(owner):
        scope["known"] = known.issuperset
        lines.append("if not known(value.__dict__): refuse(value)")
    if strict and slots:
        scope["slots"] = slots
        lines.append("if any(hasattr(value, slot) for slot in slots): refuse(value)")
    lines.append("try:")
    for n, part in enumerate(parts):
        scope[f"w{n}"] = part.form.write
        lines.append(f"    v{n} = value.{part.name}")
        condition = " and ".join(_conditions(n, part.form, scope))
        lines.append(f"    {f'if {condition}: ' if condition else ''}v{n} = w{n}(v{n})")
    lines += ["except (TypeMismatch, AttributeError): refuse(value)"] if parts else ["    pass", "finally: pass"]
    lines.append(f"return {{{', '.join(f'{part.name!r}: v{n}' for n, part in enumerate(parts))}}}")
    return "def write(value):\n" + "\n".join(f"    {line}" for line in lines), scope


def _conditions(n: int, form: Form, scope: dict[str, Any]) -> Iterable[str]:
    """When the value of field `n` is not its own JSON, and has to be written."""
    if NoneType in form.same:
        yield f"v{n} is not None"
    others = sorted(form.same - {NoneType}, key=lambda one: (one is bool, one is int, one.__name__))
    for one in others[:2]:
        scope[one.__name__] = one
        yield f"type(v{n}) is not {one.__name__}"


def _refusing(owner: Any, parts: list[Part]) -> Write:
    """Raises the error for an object that cannot be written: looks for the field that is to blame."""

    def refuse(value: Any) -> Any:
        if type(value) is not owner:
            raise _other_class(owner, value)
        known, slots = undeclared(owner)
        extra = [*(set(getattr(value, "__dict__", ())) - known), *(slot for slot in slots if hasattr(value, slot))]
        for part in parts:
            try:
                part.form.write(getattr(value, part.name))
            except AttributeError:
                raise TypeMismatch(f"{owner.__qualname__}.{part.name} has no value: set it") from None
            except TypeMismatch as error:
                raise TypeMismatch(f"{owner.__qualname__}.{part.name}: {error}") from None
        raise TypeMismatch(
            f"{short_repr(value)} has attributes that {owner.__qualname__} does not declare ({', '.join(sorted(extra))}) "
            "and that would be lost: declare them as fields"
        )

    return refuse


def _other_class(owner: Any, value: Any) -> TypeMismatch:
    if not isinstance(value, owner):
        return TypeMismatch(f"{short_repr(value)} is not of type {owner.__qualname__}: give one")
    name = type(value).__qualname__
    lost = set(field_names(type(value)) if has_fields(type(value)) else ()) - set(field_names(owner))
    what = (
        f"has fields that {owner.__qualname__} lacks ({', '.join(sorted(lost))}) and that would be lost"
        if lost
        else f"is of {name}, a subclass of {owner.__qualname__}, and would come back as {owner.__qualname__}"
    )
    return TypeMismatch(
        f"{short_repr(value)} {what}: declare {name} as the type, or give an object of {owner.__qualname__} itself"
    )


def object_form_without_defaults(owner: Any, parts: list[Part]) -> Form:
    """The same for digests: fields that have their default value are omitted."""
    refuse = _refusing(owner, parts)

    def write(value: Any) -> dict[str, Any]:
        if type(value) is not owner:
            refuse(value)
        raw = {}
        for part in parts:
            try:
                found, default = getattr(value, part.name), default_of(part.field, value)
                if default is REQUIRED or found != default:
                    raw[part.name] = part.form.write(found)
            except (TypeMismatch, AttributeError):
                refuse(value)
        return raw

    return Form(write, OBJECT, frozenset({owner}))


def typed_dict_form(owner: Any, parts: Mapping[str, Form]) -> Form:
    """The form of a typed dict: exactly its keys, those that are not required may be missing."""
    required, name = owner.__required_keys__, owner.__qualname__

    def write(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise TypeMismatch(f"{short_repr(value)} is not of type {name}: give a dict with its keys")
        if unknown := [key for key in value if type(key) is not str or key not in parts]:
            raise TypeMismatch(f"{short_repr(value)} has keys that {name} lacks ({unknown!r:.200}): declare them")
        if missing := required - value.keys():
            raise TypeMismatch(f"{short_repr(value)} lacks {', '.join(sorted(missing))} of {name}")
        raw = {}
        for key, child in value.items():
            try:
                raw[key] = parts[key].write(child)
            except TypeMismatch as error:
                raise TypeMismatch(f"{name}[{key!r}]: {error}") from None
        return raw

    return Form(write, OBJECT, frozenset({dict}))
