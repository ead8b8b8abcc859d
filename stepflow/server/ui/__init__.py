"""The web UI of a server: pages for people, rendered here with Jinja2; htmx keeps the open ones up to date."""

from __future__ import annotations
