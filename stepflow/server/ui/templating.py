"""The template environment: everything that templates use beside the values of their page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from stepflow.engine.client.explain import why
from stepflow.model.durations import length_text
from stepflow.server.ui.assets import asset
from stepflow.server.ui.label_text import label_text

FOLDER = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    """The environment of all templates: texts are escaped, and a value that is not there is an error."""
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "moment": moment_html,
        "duration": length_text,
        "number": "{:,}".format,
        "why": why,
        "badge": badge,
    }
    made.globals |= {"asset_version": lambda name: asset(name).version, "label_text": label_text}
    return made


def render(template: str, values: Mapping[str, Any]) -> str:
    """The text of a template."""
    return environment().get_template(template).render(values)


def render_text(source: str, values: Mapping[str, Any]) -> str:
    """The text of a short template that is given itself; it is no HTML yet."""
    text = environment().overlay(autoescape=False).from_string(source).render(values)
    return " ".join(text.split())


def moment_html(at: datetime | None, parts: str = "seconds") -> Markup:
    """A time as an element: it is shown up to these `parts`, the rest and the zone are in its attributes. Empty for None."""
    if at is None:
        return Markup()
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(
        utc.isoformat(), utc.replace(tzinfo=None).isoformat(" ", parts)
    )


def badge(status: str) -> Markup:
    """A status as a coloured element; the text says the same as the colour."""
    return Markup('<span class="status status-{0}">{0}</span>').format(escape(status))
