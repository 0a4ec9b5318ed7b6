"""The dashboard of the models: ready versions, their providers and their predictions."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.monitoring.dashboards import explanations
from deploy.monitoring.expressions import mean, quantile, rate, ratio
from deploy.monitoring.objectives import Objectives
from deploy.monitoring.panels import (
    CALLS_A_SECOND,
    COUNT,
    MODEL,
    SECONDS,
    SHARE,
    WINDOW,
    Panel,
    Query,
    Row,
    compose,
    series,
    table,
)

__all__ = ["build"]

_VERSION = "{{model}} v{{version}}"
_BY_VERSION = "model, version"
_SHADOW = "{{model}} v{{version}} and v{{shadow}}"
_BY_SHADOW = "model, version, shadow"


def build(objectives: Objectives) -> Dashboard:
    """Make the dashboard."""
    return compose(
        "models",
        "Convscope models",
        "Ready and rejected versions, their execution providers, and how their predictions change "
        "over time.",
        [
            Row("", _versions()),
            Row("Traffic and loads", _loads()),
            Row("Predictions", _answers()),
            Row("Explanations", explanations.panels()),
            Row("Sessions that are opened on first use", explanations.sessions()),
            Row("Canaries and shadows", [_traffic_splits(), *_shadow()]),
            Row("Remote repository", _repository(objectives)),
        ],
    )


def _versions() -> list[Panel]:
    return [
        _facts(
            "Ready",
            "Each version that passed its checks and is ready, with the execution provider that is "
            "in use, the precision of its graph, and that of the provider.",
            "convscope_model_info",
            {
                "provider": "Execution provider",
                "precision": "Precision",
                "compute_precision": "Computed in",
            },
        ),
        _facts(
            "Rejected",
            "Each version that was rejected, with the check that it failed. `convscope admin "
            "status` shows the reason. Empty when all is well.",
            "convscope_model_refused",
            {"reason": "Check"},
        ),
        _facts(
            "On a fallback provider",
            "Each version that runs on another execution provider than the first one of its "
            "settings, unless an engine is being built. Empty when all is well.",
            "convscope_provider_fallback",
            {"wanted": "Preferred", "provider": "In use"},
        ),
    ]


def _facts(title: str, description: str, metric: str, labels: dict[str, str]) -> Panel:
    """Make a table with a row for each version whose gauge is set."""
    columns = {"model": "Model", "version": "Version"} | labels
    return table(
        title, description, f"max by ({', '.join(columns)}) ({metric}{{{MODEL}}}) > 0", columns
    )


def _loads() -> list[Panel]:
    requests = rate("convscope_requests_total", MODEL, WINDOW, by=_BY_VERSION)
    return [
        series(
            "Requests by version",
            "Requests that each version completed, per second. During a change of version one line "
            "replaces another.",
            CALLS_A_SECOND,
            Query(requests, _VERSION),
            stacked=True,
        ),
        series(
            "Versions ready",
            "The number of ready versions of each model.",
            COUNT,
            Query(f"count by (model) (convscope_model_info{{{MODEL}}})", "{{model}}"),
        ),
        series(
            "Failed loads, 10 min",
            "Loads that failed within the last ten minutes, by the check that failed. Each worker "
            "counts its own loads.",
            COUNT,
            Query(
                "sum by (reason) (increase(convscope_model_load_failures_total[10m]))",
                "{{reason}}",
            ),
        ),
    ]


def _answers() -> list[Panel]:
    predicted = rate("convscope_predicted_classes_total", MODEL, WINDOW, by="model, class")
    of_model = rate("convscope_predicted_classes_total", MODEL, WINDOW, by="model")
    return [
        series(
            "Predicted classes",
            "The distribution of the top classes for each model. A shift means other images than "
            "before, or another version.",
            SHARE,
            Query(f"{predicted} / on (model) group_left {of_model}", "{{model}} {{class}}"),
            stacked=True,
        ),
        series(
            "Probability of the top class",
            "The median and the 10th percentile of the probability of the top class. A fall means "
            "images that the model is less certain about.",
            SHARE,
            Query(_sureness(0.5), f"{_VERSION} median"),
            Query(_sureness(0.1), f"{_VERSION} p10"),
        ),
        series(
            "Mean entropy",
            "The entropy of the probabilities: 0 if one class has all, 1 if all classes are equal. "
            "It shows uncertainty that the top class alone hides.",
            SHARE,
            Query(
                mean("convscope_prediction_entropy_ratio", MODEL, WINDOW, by=_BY_VERSION), _VERSION
            ),
        ),
    ]


def _sureness(share: float) -> str:
    return quantile(share, "convscope_top1_probability", MODEL, WINDOW, by=_BY_VERSION)


def _traffic_splits() -> Panel:
    return series(
        "Traffic splits",
        "The configured share of a model's requests that goes to a canary or is copied to a "
        "shadow.",
        SHARE,
        Query(
            f"max by ({_BY_VERSION}, kind) (convscope_traffic_share{{{MODEL}}})",
            f"{{{{kind}}}} {_VERSION}",
        ),
    )


def _shadow() -> list[Panel]:
    inputs = "convscope_shadow_inputs_total"
    return [
        series(
            "Shadow disagreement",
            "The share of the compared inputs for which the shadow's top class differs from that "
            "of the serving version. Clear are those whose top class leads by 0.1 or more in the "
            "answer: a shadow that only computes differently, such as one in INT8, should keep 99% "
            "of them. Callers are not affected.",
            SHARE,
            Query(_disagreement(inputs), _SHADOW),
            Query(_disagreement("convscope_shadow_clear_inputs_total"), f"{_SHADOW}, clear"),
        ),
        series(
            "Difference of the shadow",
            "For 95% of the inputs, no probability differs by more than p95 between the two "
            "versions. The mean is of the change of the answer's top class.",
            SHARE,
            Query(
                quantile(0.95, "convscope_shadow_difference", MODEL, WINDOW, by=_BY_SHADOW),
                f"{_SHADOW} p95",
            ),
            Query(
                mean("convscope_shadow_top1_change", MODEL, WINDOW, by=_BY_SHADOW),
                f"{_SHADOW} top class, mean",
            ),
        ),
        series(
            "Time of the shadow's runs",
            "The mean time of the runs that the compared inputs were part of, for the answer and "
            "for the shadow. Compare them where batches are small: answers share runs with other "
            "requests.",
            SECONDS,
            Query(
                mean("convscope_shadow_infer_seconds", MODEL, WINDOW, by=f"{_BY_SHADOW}, side"),
                f"{_SHADOW} {{{{side}}}}",
            ),
        ),
        series(
            "Inputs of the shadow",
            "The outcome of the inputs that were copied to the shadow, per second. Inputs are "
            "dropped when callers need the capacity.",
            COUNT,
            Query(rate(inputs, MODEL, WINDOW, by="model, outcome"), "{{model}} {{outcome}}"),
            stacked=True,
        ),
    ]


def _disagreement(inputs: str) -> str:
    """Return the share of the compared inputs with different top classes."""
    compared = f'{MODEL}, outcome=~"agreed|disagreed"'
    return ratio(
        rate(inputs, f'{MODEL}, outcome="disagreed"', WINDOW, by=_BY_SHADOW),
        rate(inputs, compared, WINDOW, by=_BY_SHADOW),
    )


def _repository(objectives: Objectives) -> list[Panel]:
    return [
        series(
            "Age of the last sync",
            "The time since the last complete sync with the remote repository. Only servers with a "
            "remote repository have it. An alert fires above the dashed line, or after three "
            "polling intervals if those are longer.",
            SECONDS,
            Query(
                "time() - max by (instance) (convscope_repository_last_sync_timestamp_seconds)",
                "{{instance}}",
            ),
            limit=objectives.repository.stale_seconds,
        ),
        series(
            "Failed syncs, 10 min",
            "Syncs with the remote repository that failed within the last ten minutes. Each worker "
            "counts its own syncs.",
            COUNT,
            Query(
                "sum by (instance) (increase(convscope_repository_sync_failures_total[10m]))",
                "{{instance}}",
            ),
        ),
    ]
