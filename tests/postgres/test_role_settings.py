"""What the page for PostgreSQL says of the settings of a role is what the log asks for."""

from __future__ import annotations

import re
from pathlib import Path

from stepflow.drivers.postgres.connector import SETTINGS, lines_of_role, settings_of_role

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "postgresql.md"


def test_the_page_has_all_lines_of_the_log():
    found = re.findall(r"^ALTER ROLE .*$", PAGE.read_text(), re.MULTILINE)
    assert found == lines_of_role("shop_worker", settings_of_role(SETTINGS))
