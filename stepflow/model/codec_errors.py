"""codec_errors: explains in one line why a value cannot be encoded or decoded, and at which path inside it."""

from __future__ import annotations

from typing import Any

from cattrs import BaseValidationError, ForbiddenExtraKeysError, transform_error
from cattrs.v import format_exception

from stepflow.model.error_text import kind_of, message_of
from stepflow.model.fields import field_names, has_fields
from stepflow.model.pydantic_models import UnknownKeys
from stepflow.model.scalars import TypeMismatch
from stepflow.model.type_tree import type_name


def one_line(error: BaseException) -> str:
    """An error of cattrs, or any other error, in one line."""
    if isinstance(error, BaseValidationError):
        return "; ".join(transform_error(error, path="$", format_exception=_format))
    return str(error) if isinstance(error, TypeMismatch) else f"{kind_of(error)}: {message_of(error)}"


def _format(error: BaseException, type_: Any) -> str:
    """One error inside a value."""
    if isinstance(error, TypeMismatch):
        return str(error)
    if has_fields(type_) and isinstance(error, (AttributeError, TypeError)):
        return expected_fields(type_)
    return format_exception(error, type_)


def expected_fields(type_: Any) -> str:
    """The message for stored JSON that is not an object with the fields of the class."""
    return f"expected an object with the fields of {type_name(type_)} ({', '.join(field_names(type_))})"


def has_unknown_fields(error: BaseException) -> bool:
    """Whether the error reports stored fields that the type lacks."""
    if isinstance(error, ForbiddenExtraKeysError | UnknownKeys):
        return True
    return isinstance(error, BaseExceptionGroup) and any(has_unknown_fields(e) for e in error.exceptions)
