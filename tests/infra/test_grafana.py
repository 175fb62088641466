"""The dashboard and the alerts name numbers that geoseg exports, with labels that they have."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from exported import exported

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "infra/grafana/dashboard.json").read_text())
ALERTS = yaml.safe_load((ROOT / "infra/grafana/alerts.yaml").read_text())["spec"]["groups"][0]["rules"]
GUIDE = (ROOT / "infra/README.md").read_text()
CLUSTER = "ray_io_cluster"
"""A label of the pod, which the PodMonitor takes over."""


def filled_in(expression: str) -> str:
    """An expression of the dashboard, as Grafana sends it."""
    return expression.replace("$__rate_interval", "1m").replace("$cluster", ".*")


def dashboard_queries() -> list[str]:
    return [filled_in(target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]


def named(expression: str) -> dict[str, set[str]]:
    """What an expression selects: names, with the labels that it picks by."""
    found: dict[str, set[str]] = {}
    for selector in selectors(promql_parser.parse(expression)):
        labels = {matcher.name for matcher in selector.matchers.matchers}
        found.setdefault(selector.name or "", set()).update(labels)
    return found


def selectors(node: Any) -> Iterator[promql_parser.VectorSelector]:  # noqa: ANN401  # any of its expressions
    match node:
        case promql_parser.VectorSelector():
            yield node
        case promql_parser.MatrixSelector():
            yield node.vector_selector
        case promql_parser.BinaryExpr():
            yield from selectors(node.lhs)
            yield from selectors(node.rhs)
        case promql_parser.Call():
            for argument in node.args:
                yield from selectors(argument)
        case promql_parser.AggregateExpr() | promql_parser.ParenExpr():
            yield from selectors(node.expr)
        case promql_parser.NumberLiteral():
            return
        case _:
            raise TypeError(f"expected a kind of expression that is known here, got {type(node)}")


def grouped(expression: str) -> set[str]:
    return {name.strip() for names in re.findall(r"\bby \(([^)]*)\)", expression) for name in names.split(",")}


@pytest.mark.parametrize("expression", [*dashboard_queries(), *(rule["expr"] for rule in ALERTS)])
def test_queries_name_what_there_is(expression: str) -> None:
    known = exported()
    found = named(expression)
    assert found
    for name, labels in found.items():
        assert labels <= {CLUSTER, *known[name]}
    assert grouped(expression) <= {CLUSTER} | set().union(*(known[name] for name in found))


def test_every_number_is_shown() -> None:
    parts = re.compile("_(bucket|count|sum)$")
    shown = {parts.sub("", name) for query in dashboard_queries() for name in named(query)}
    assert shown == {parts.sub("", name) for name in exported()}


def test_the_guide_names_what_there_is_and_says_what_each_alert_means() -> None:
    told = set(re.findall(r"ray_geoseg_\w+", GUIDE))
    assert told
    assert told <= set(exported())
    assert set(re.findall(r"\bGeoseg[A-Z]\w+", GUIDE)) == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_what_an_alert_says_it_has(rule: dict[str, Any]) -> None:
    said = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert said <= grouped(rule["expr"])
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}


def test_panels_lie_beside_one_another() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = [
            one[at] + one[size] <= other[at] or other[at] + other[size] <= one[at]
            for at, size in (("x", "w"), ("y", "h"))
        ]
        assert any(apart), (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_the_dashboards_variables_are_defined_and_used() -> None:
    text = json.dumps(DASHBOARD["panels"])
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval"}
    assert used == {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    (query,) = [variable["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()  # type: ignore[union-attr]
    assert metric in exported()
    assert label == CLUSTER
