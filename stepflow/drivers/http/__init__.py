"""The driver of stores that a stepflow server serves. Needs `pip install "stepflow[http]"`."""

from __future__ import annotations

from stepflow.drivers.http.driver import HttpDriver as HttpDriver
