"""The code of docs/howto/flowstate.md prints what the page says."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "flowstate.md"


def test_the_page(flowstate_url, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (printed,) = re.findall(r"```console\n\$ .*?\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, object] = {"__name__": "page"}
    exec(compile(code, str(PAGE), "exec"), names)
    number = names["write_invoice"](flowstate_url, "invoice-42")  # type: ignore[operator]
    assert (capsys.readouterr().out, number) == (printed, "2026-17")
