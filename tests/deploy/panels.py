"""The queries of the dashboards, as Grafana would send them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["PanelQuery", "panel_queries"]

# Grafana uses four scrape intervals. The tests scrape every second on a busy machine.
RATE_INTERVAL = "10s"


@dataclass(frozen=True)
class PanelQuery:
    """One query of a panel.

    Args:
        name: The dashboard, panel and letter.
        expression: The expression, with the variables replaced by all models.
        labels: The labels that every series must have, for the legend.
        columns: The labels that some series must have, for the columns of a table.
    """

    name: str
    expression: str
    labels: frozenset[str]
    columns: frozenset[str]


def panel_queries(dashboards: dict[str, dict[str, Any]]) -> Iterator[PanelQuery]:
    """Return every query of every panel."""
    for name, dashboard in dashboards.items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield PanelQuery(
                    f"{name}: {panel['title']} {target['refId']}",
                    target["expr"]
                    .replace("$model", ".*")
                    .replace("$__rate_interval", RATE_INTERVAL),
                    frozenset(re.findall(r"{{(\w+)}}", target["legendFormat"])),
                    _columns(panel),
                )


def _columns(panel: dict[str, Any]) -> frozenset[str]:
    transformations = panel.get("transformations") or []
    return frozenset(label for t in transformations for label in t["options"]["renameByName"])
