"""logs: the log of the verbs that run until a signal, on stderr: lines of text or of JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_option(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--json-logs`; the verb hands `json_logs` to `log_to_stderr`."""
    return click.option(
        "--json-logs",
        is_flag=True,
        envvar="STEPFLOW_JSON_LOGS",
        help="One JSON object per line of the log.  [env: STEPFLOW_JSON_LOGS]",
    )(fn)


def log_to_stderr(as_json: bool) -> None:
    """Log from INFO on; as JSON what Python warns of, too."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else logging.Formatter(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if as_json:
        logging.captureWarnings(True)


class JsonLines(logging.Formatter):
    """One JSON object per record, with what was given as `extra`; `at` is UTC, to the millisecond."""

    _USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in self._USUAL}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
