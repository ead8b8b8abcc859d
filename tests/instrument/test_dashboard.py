"""The dashboard of the docs asks for metrics and labels that the table has, and leaves no metric out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import REGISTRY

from stepflow.engine.instrument.metrics import METRICS, Metric
from stepflow.model.lifecycle import Status
from tests.house.pages import ROOT
from tests.instrument.test_metrics import a_bit_of_everything
from tests.instrument.told import Told

DASHBOARD = json.loads((ROOT / "docs" / "grafana" / "stepflow.json").read_text())
SELECTOR = re.compile(r"\b(stepflow_\w+?)(?:\{([^}]*)\})?(?=[\[\s)},|\"]|$)")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
SUFFIXES = ("_bucket", "_sum", "_count")


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    """What the panels ask for."""
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"]


def series() -> dict[str, Metric]:
    """The names of all series, with their metric."""
    found = {}
    for metric in METRICS:
        names = (
            [metric.prometheus + suffix for suffix in SUFFIXES] if metric.kind == "histogram" else [metric.prometheus]
        )
        found |= dict.fromkeys(names, metric)
    return found


def asked(expression: str) -> list[tuple[str, str]]:
    """The series of an expression, with what is between the braces; names of labels are none."""
    labels = {label for metric in METRICS for label in metric.labels}
    return [(name, given) for name, given in SELECTOR.findall(expression) if name not in labels]


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_a_panel_asks_for_series_and_labels_that_exist(expression):
    found = asked(expression)
    assert found
    for name, given in found:
        metric = series()[name]
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", given)) <= set(metric.labels), name
        for groups in GROUPED.findall(expression):
            assert {label.strip() for label in groups.split(",")} - {"le"} <= set(metric.labels), name


def test_every_metric_is_on_the_dashboard():
    shown = {series()[name].name for expression in expressions() for name, _given in asked(expression)}
    assert shown == {metric.name for metric in METRICS}


def test_statuses_of_the_dashboard_are_statuses():
    named = {one for expression in expressions() for one in re.findall(r'stepflow_status!?[=~]+"([\w|]+)"', expression)}
    assert named
    assert {status for text in named for status in text.split("|")} <= {status.value for status in Status}


def test_counters_and_histograms_are_asked_for_by_their_rate():
    for expression in expressions():
        for name, _given in asked(expression):
            cumulative = series()[name].kind in ("counter", "histogram")
            assert (f"rate({name}" in expression) == cumulative, expression


def test_panels_have_a_place_of_their_own_and_legends_name_their_labels():
    places, ids = set(), [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & places, panel["title"]
        places |= cells
        assert place["x"] + place["w"] <= 24
    for panel in panels():
        for target in panel["targets"]:
            grouped = {label.strip() for groups in GROUPED.findall(target["expr"]) for label in groups.split(",")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped, panel["title"]


def test_opentelemetry_gives_the_metrics_the_names_and_labels_of_the_table():
    reader = PrometheusMetricReader()
    told = Told(reader)
    try:
        a_bit_of_everything(told)
        found = {family.name: family for family in REGISTRY.collect() if family.name.startswith("stepflow_")}
    finally:
        told.close()
    wanted = {metric.prometheus.removesuffix("_total"): metric for metric in METRICS if metric.kind != "gauge"}
    assert set(found) == set(wanted)
    for name, family in found.items():
        labels = {label for sample in family.samples for label in sample.labels if not label.startswith("otel_")}
        assert labels - {"le"} <= set(wanted[name].labels), name
        assert {sample.name for sample in family.samples} <= {*series()}, name
