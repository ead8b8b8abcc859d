"""options: checks the options of a flow."""

from __future__ import annotations

import inspect
from typing import Any

from stepflow.model.durations import seconds
from stepflow.model.flow import FlowOptions
from stepflow.model.retry import RetryPolicy
from stepflow.model.run_timeout import run_timeout_us


def read_options(
    name: str,
    concurrency: Any,
    retry: Any,
    hung_after: Any,
    max_crashes: Any,
    upgrade: Any = None,
    run_timeout: Any = None,
) -> tuple[FlowOptions, list[str]]:
    """(the options, the problems; empty if there are none)."""
    problems = []
    if concurrency is not None and not _count(concurrency):
        problems.append(f"concurrency={concurrency!r}: give a whole number of runs, at least 1, or None")
    if not _count(max_crashes):
        problems.append(f"max_crashes={max_crashes!r}: give a whole number of crashes, at least 1")
    if retry is not None and not isinstance(retry, RetryPolicy):
        problems.append(f"retry={retry!r}: give a RetryPolicy, or None")
    if upgrade is not None and (problem := _upgrade_problem(upgrade)):
        problems.append(f"upgrade={upgrade!r:.200} {problem}: give a function from dict to dict, or None")
    hung_after_s: float | None = None
    if hung_after is not None:
        hung_after_s, problem = seconds("hung_after", hung_after)
        problems += [problem] if problem else []
    limit, problem = run_timeout_us(run_timeout)
    problems += [problem] if problem else []
    if problems:
        return FlowOptions(), [f"{name}: {problem}" for problem in problems]
    return FlowOptions(concurrency, retry, hung_after_s, max_crashes, upgrade, limit), []


def _upgrade_problem(upgrade: Any) -> str:
    """Why `upgrade` cannot be used, empty if it can."""
    if not callable(upgrade):
        return "is not callable"
    if inspect.iscoroutinefunction(upgrade) or inspect.isgeneratorfunction(upgrade):
        return "is async or a generator"
    try:
        inspect.signature(upgrade).bind({})
    except TypeError:
        return "does not take one argument"
    except ValueError:
        return ""  # a builtin whose parameters cannot be read
    return ""


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
