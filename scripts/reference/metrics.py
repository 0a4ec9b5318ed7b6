"""The reference of the metrics and alerts, from the server's table and the rules' source."""

from convscope.server.observability.metrics.families import TABLE, Family, Scope
from deploy.monitoring.alerts import alerts
from deploy.monitoring.objectives import Objectives
from scripts.reference.markdown import code, definition, prose, sentence

__all__ = ["metrics_page"]

_INTRODUCTION = """# Metrics and alerts

The server serves these metrics on `--metrics-address`, [for Prometheus](../monitoring.md). The
list is made from the table from which the server makes its series.

- A **counter** only grows; use `rate()` or `increase()`. A **histogram** has the series
  `_bucket`, `_sum` and `_count`.
- Values that a label has from the start are listed, so that the first failure is an increase that
  a rate sees.
- With `--workers`, counters and histograms are added up. A gauge is added up too, unless another
  rule is stated.
- The metrics `process_*` and `python_info` of the Prometheus client are served as well. """
_SCOPES = {
    Scope.METHOD: ("Calls", "Series of each method of each service."),
    Scope.VERSION: ("Versions of models", "They exist while the version is loaded."),
    Scope.EXPLANATIONS: (
        "Explanations",
        "They exist from a version's first request for an explanation.",
    ),
    Scope.SHADOW: ("Shadows", "They exist while a version gets copies of requests."),
    Scope.REPOSITORY: ("Remote repository", "They exist if `--models` is a URL."),
    Scope.SERVER: ("Server", "They always exist."),
}
_MERGED = {max: "largest value", min: "smallest value"}


def metrics_page() -> str:
    """Return the page."""
    lines = [_INTRODUCTION]
    for scope, (title, text) in _SCOPES.items():
        lines.append(f"## {title}\n\n{text}\n")
        lines += [_entry(family) for family in TABLE if family.scope is scope]
    lines.append("## Alerts\n")
    lines.append(
        "The rules are in `deploy/prometheus/rules.yml`, made from `deploy/objectives.toml`. "
        "A *page* needs attention at once, a *ticket* during working hours. "
        "[Troubleshooting](../operations/troubleshooting.md#alerts) states what to do first.\n"
    )
    lines += _alerts()
    return "\n".join(lines)


def _entry(family: Family) -> str:
    name = f"{family.name}_total" if family.kind == "counter" else family.name
    labels = ", ".join(code(label) for label in family.all_labels)
    facts = [f"Labels: {labels}" if labels else ""]
    if family.labels and family.values:
        values = ", ".join(code(value) for value in family.values)
        facts.append(f"Values of {code(family.labels[-1])}: {values}")
    if family.kind == "gauge" and family.merged in _MERGED:
        facts.append(f"With `--workers`: the {_MERGED[family.merged]}")
    if family.buckets:
        facts.append("Buckets: " + ", ".join(f"{bound:g}" for bound in family.buckets))
    return definition(f"`{name}` *{family.kind}*", sentence(prose(family.help)), *facts)


def _alerts() -> list[str]:
    shown: dict[str, list[str]] = {}
    for alert in alerts(Objectives.read()):
        entry = shown.setdefault(alert.name, [])
        condition = f"*{alert.severity}*, after {alert.pending}: `{alert.expression}`"
        entry.append(condition)
    return [definition(f"`{name}`", *conditions) for name, conditions in shown.items()]
