"""host_url: the one form of a host's base URL, and which URLs an allow-list allows.

Only plain URLs pass (no user, query or escape), so that all programs that read one mean the same host.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from stepflow.errors import StepflowError

LOOPBACK = (
    "loopback"  # entry of an allow-list: every port of this machine, by its loopback addresses and the name localhost
)
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*)/?",
    re.ASCII,
)


def host_url(text: str) -> str:
    """The URL in its one form: `http://10.0.0.7:9000`, the port of the scheme left out, no slash at the end. StepflowError if it is none."""
    found = _URL.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found["port"] or 1) not in range(1, 65536):
        raise StepflowError(f"{text!r:.200} is no URL of a host: write http://host:port, without user, query or spaces")
    scheme, port = found["scheme"], found["port"]
    usual = {"http": "80", "https": "443"}[scheme]
    place = found["host"].lower() + (f":{int(port)}" if port and str(int(port)) != usual else "")
    return f"{scheme}://{place}{found['path']}"


def allow_list(entries: Sequence[str]) -> frozenset[str]:
    """The entries in their one form; StepflowError for one that is neither a URL nor LOOPBACK."""
    if isinstance(entries, str):
        raise StepflowError(f"hosts={entries!r:.80}: give a list of URLs")
    return frozenset(entry if entry == LOOPBACK else host_url(entry) for entry in entries)


def url_problem(text: str, allowed: frozenset[str]) -> str:
    """Why the host of this URL may not be called; empty if it may."""
    try:
        url = host_url(text)
    except StepflowError as error:
        return str(error)
    if url != text:
        return f"it is registered in another form than {url!r}"
    if url in allowed or (LOOPBACK in allowed and _is_local(url)):
        return ""
    return f"it is not in the list of allowed hosts: add {url!r} to it if it is one of yours"


def _is_local(url: str) -> bool:
    found = _URL.fullmatch(url)
    assert found is not None
    host = found["host"].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
