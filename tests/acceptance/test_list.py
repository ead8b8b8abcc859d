"""Every number of the acceptance list of the Go library `flows`, and every weak spot of it, has a test.

A test of this folder has its numbers in its name. What a test elsewhere shows is named here, and not done twice.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from tests.house.pages import ROOT

HERE = Path(__file__).parent
COUNTS = {"C": 22, "W": 3, "WB": 1, "S": 6, "I": 40, "R": 6, "G": 6}  # a number begins with its topic
CRON, SCHEDULES = "tests/model/test_cron.py::", "tests/engine/test_schedules.py::"
TICKS = [f"C{n:02}" for n in (*range(4, 15), 21, 22)]
ELSEWHERE = {
    **dict.fromkeys(TICKS, (CRON + "test_the_next_tick",)),
    "C01": (CRON + "test_every",),
    "C02": (CRON + "test_no_duration",),
    "C03": (CRON + "test_what_cannot_be_meant_is_refused",),
    "C17": (CRON + "test_intervals_count_from_their_anchor",),
    "C18": (CRON + "test_what_cannot_be_meant_is_refused",),
    "C19": (SCHEDULES + "test_what_cannot_be_meant_is_refused_and_nothing_is_stored",),
    "C20": (SCHEDULES + "test_what_cannot_be_meant_is_refused_and_nothing_is_stored",),
    # There are no polls whose pause grows: a worker sleeps until something is due, or until it hears of a change.
    "W01": ("tests/engine/test_worker.py::test_a_worker_wakes_for_timers_events_and_redrives",),
    "W02": ("tests/engine/test_background.py::test_the_change_listener_asks_the_store_only_while_a_part_needs_it",),
    "WB1": ("tests/bench/test_bench.py::test_every_probe_of_our_own_finds_what_it_counted",),
    # A number of shards below one is an error.
    "S01": ("tests/model/test_run_key.py::test_a_number_of_shards_below_one_is_an_error",),
    "S04": ("tests/model/test_run_key.py::test_the_labels_of_a_flow",),
    "S06": (
        "tests/cli/test_migrate.py::test_migrate_prints_sql_that_makes_the_very_tables",
        "tests/cli/test_migrate.py::test_migrate_names_the_schema_of_a_server_without_asking_it",
    ),
    "I07": (
        "tests/postgres/test_user_transactions.py::test_what_a_function_wrote_is_there_with_its_record_and_is_written_once",
    ),
    # What went away comes back: the server, or room on the disk. A schema that was dropped is a store that is lost.
    "I33": (
        "tests/postgres/test_engine.py::test_a_restart_of_the_server_loses_and_repeats_nothing",
        "tests/engine/test_trouble.py::test_a_worker_in_the_background_says_so_and_tries_again_by_itself",
    ),
}
WRITES, BROKEN = "tests/postgres/test_user_transactions.py::", "tests/postgres/test_user_transactions_broken.py::"
CALLS, FAILURES, MISUSE = (f"tests/workflows/test_{name}.py::" for name in ("calls", "failure", "misuse"))
WEAK_SPOTS = {
    1: ("tests/acceptance/test_lifecycle.py::test_no_transaction_is_open_while_a_step_goes_on_or_a_run_sleeps",),
    2: (WRITES + "test_a_failed_statement_that_the_function_swallows_commits_nothing_that_depends_on_it",),
    3: ("tests/processes/test_workflows.py::test_a_process_that_is_killed_in_each_step_repeats_that_step_alone",),
    4: (WRITES + "test_a_failure_takes_the_writes_back_and_is_recorded",),
    5: ("tests/processes/test_crashes.py::test_the_step_that_kills_its_process_is_failed_and_the_innocents_complete",),
    6: (
        "tests/workflows/test_laws.py::test_failing_commits_and_restarts_change_neither_the_result_nor_the_number_of_effects",
    ),
    7: (BROKEN + "test_two_transfers_that_meet_in_a_deadlock_both_take_place",),
    8: (
        CALLS + "test_events_are_taken_once_and_in_order_and_those_before_the_wait_count",
        CALLS + "test_an_event_that_does_not_come_in_time_times_out_also_at_the_replay",
        "tests/workflows/test_first_of.py::test_the_losers_consume_nothing",
        "tests/engine/test_broadcast.py::test_it_reaches_the_runs_that_have_the_labels_and_have_not_ended",
    ),
    9: (
        "tests/workflows/test_children.py::test_a_workflow_starts_children_once_and_gets_their_results_in_order",
        "tests/workflows/test_map.py::test_each_item_is_called_once_and_the_results_are_in_order",
        CALLS + "test_continue_as_new_drops_the_journal_and_keeps_events",
    ),
    10: (
        "tests/workflows/test_cancel.py::test_a_run_that_is_held_is_cancelled_at_its_next_call_and_an_async_step_at_once",
        FAILURES + "test_a_redrive_goes_on_at_the_step_that_failed",
        "tests/engine/test_pause.py::test_a_holder_stops_at_its_next_commit_and_nothing_is_done_twice",
    ),
    11: (
        MISUSE + "test_a_key_that_is_used_twice_is_found",
        MISUSE + "test_a_replay_that_leaves_the_recorded_way_blocks_the_run_and_mended_code_goes_on",
        MISUSE + "test_new_code_for_new_runs",
    ),
    12: (CALLS + "test_a_value_comes_back_as_its_type_says_also_at_first",),
    13: (MISUSE + "test_a_swallowed_suspend_is_found", MISUSE + "test_a_suspend_inside_of_a_step_is_found"),
    14: (
        FAILURES + "test_terminal_stops_every_level_of_retries",
        FAILURES + "test_a_step_is_retried_while_the_run_sleeps_and_its_attempts_survive_restarts",
        FAILURES + "test_attempts_that_hang_time_out_in_real_time",
    ),
    15: (
        "tests/postgres/test_workers.py::test_delays_fire_once_and_in_time_with_four_workers",
        "tests/postgres/test_idle.py::test_an_idle_worker_plans_to_look_when_a_sleep_ends",
    ),
    16: (
        "tests/postgres/test_plans.py::test_lists_do_not_grow_with_runs_that_ended",
        "tests/engine/test_retention.py::test_a_worker_prunes_by_itself",
    ),
    17: (
        "tests/engine/test_flow_control.py::test_no_more_runs_are_advanced_at_a_time_than_the_limit_over_two_workers",
        "tests/engine/test_flow_control.py::test_the_same_key_within_its_window_gives_the_run_that_is_there",
        "tests/engine/test_fairness.py::test_a_backlog_keeps_no_other_flow_waiting",
    ),
    18: ("tests/postgres/test_options.py::test_the_shard_count_is_fixed_when_the_store_is_made",),
    19: (
        "tests/model/test_timetable.py::test_a_daily_time_has_one_tick_for_each_date",
        SCHEDULES + "test_upsert_keeps_a_pause_and_the_next_tick_of_the_same_timing",
    ),
    20: ("tests/engine/test_run_log.py::test_a_failed_run_is_logged_once_with_the_traceback",),
    21: (
        "tests/postgres/test_options.py::test_a_newer_schema_is_refused",
        "tests/postgres/test_options.py::test_a_wrong_option_is_named",
    ),
    22: ("tests/drivers/test_payload.py::test_what_cannot_be_opened_blocks_its_run_and_is_not_lost",),
}


def numbers() -> set[str]:
    return {f"{topic}{n:0{1 if topic == 'WB' else 2}}" for topic, count in COUNTS.items() for n in range(1, count + 1)}


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def shown_here() -> set[str]:
    names = [name for file in HERE.glob("test_*.py") for name in names_in(str(file.relative_to(ROOT)))]
    return {n.upper() for name in names for n in re.findall(r"_([cwsirg]\d\d)(?=_)", name)}


def test_every_number_has_a_test_here_or_one_that_is_named() -> None:
    assert shown_here() & ELSEWHERE.keys() == set()
    assert shown_here() | ELSEWHERE.keys() == numbers()
    assert len(numbers()) == 84


def test_every_test_that_is_named_is_there() -> None:
    places = [place.partition("::") for named in (ELSEWHERE, WEAK_SPOTS) for found in named.values() for place in found]
    assert [f"{file}::{name}" for file, _, name in places if name not in names_in(file)] == []


def test_the_page_tells_of_every_weak_spot() -> None:
    page = (ROOT / "docs" / "from-flows.md").read_text()
    assert [int(n) for n in re.findall(r"^\| (\d+) \|", page, re.M)] == list(WEAK_SPOTS) == list(range(1, 23))
