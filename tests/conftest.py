"""Every run of the suite tries the same examples, `make soak` looks for new ones; failures of the kit show their values."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("stepflow.testing.conformance")
settings.register_profile("repeatable", derandomize=True, print_blob=True)
settings.register_profile("exploring", print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
