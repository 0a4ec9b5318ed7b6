"""The models: which versions answer, on what, and what they answer."""

from grafana_foundation_sdk.models.dashboard import Dashboard

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
        "Which versions answer and on which execution provider, what was refused, and how what "
        "they answer changes over time.",
        [
            Row("", _versions()),
            Row("Traffic and loads", _loads()),
            Row("What they answer", _answers()),
            Row("Canaries and shadows", [_trials(), *_shadow()]),
            Row("Remote repository", _repository(objectives)),
        ],
    )


def _versions() -> list[Panel]:
    return [
        _facts(
            "Ready",
            "Each version that passed its checks and answers, with the execution provider that it "
            "really runs on and the arithmetic of its graph.",
            "convscope_model_info",
            {"provider": "Execution provider", "precision": "Precision"},
        ),
        _facts(
            "Refused",
            "Each version of the repository that failed a check, and which. `convscope admin "
            "status` says why. Empty when all is well.",
            "convscope_model_refused",
            {"reason": "Check"},
        ),
        _facts(
            "On another provider than wanted",
            "Each version that runs on another execution provider than its settings want first, "
            "and not because an engine is being built. Empty when all is well.",
            "convscope_provider_fallback",
            {"wanted": "Wanted", "provider": "Execution provider"},
        ),
    ]


def _facts(title: str, description: str, metric: str, labels: dict[str, str]) -> Panel:
    """A row for each version whose gauge is set."""
    columns = {"model": "Model", "version": "Version"} | labels
    return table(
        title, description, f"max by ({', '.join(columns)}) ({metric}{{{MODEL}}}) > 0", columns
    )


def _loads() -> list[Panel]:
    requests = rate("convscope_requests_total", MODEL, WINDOW, by=_BY_VERSION)
    return [
        series(
            "Requests by version",
            "Requests answered by each version, per second. During a change of version one line "
            "takes over from another.",
            CALLS_A_SECOND,
            Query(requests, _VERSION),
            stacked=True,
        ),
        series(
            "Versions ready",
            "How many versions of each model answer.",
            COUNT,
            Query(f"count by (model) (convscope_model_info{{{MODEL}}})", "{{model}}"),
        ),
        series(
            "Loads refused, 10 min",
            "Loads that failed within the last ten minutes, by the check that refused them. Of "
            "several workers each counts its own.",
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
            "The mix of the best classes, as shares of each model's answers. A mix that shifts "
            "means other images than before, or another version.",
            SHARE,
            Query(f"{predicted} / on (model) group_left {of_model}", "{{model}} {{class}}"),
            stacked=True,
        ),
        series(
            "Probability of the best class",
            "Half of the answers, and all but 10 %, are at least this sure. A fall means images "
            "that the model knows less well.",
            SHARE,
            Query(_sureness(0.5), f"{_VERSION} half"),
            Query(_sureness(0.1), f"{_VERSION} all but 10 %"),
        ),
        series(
            "Mean entropy",
            "How evenly the probabilities spread over the classes: 0 is all on one, 1 is all "
            "alike. It sees doubt that the best class alone hides.",
            SHARE,
            Query(
                mean("convscope_prediction_entropy_ratio", MODEL, WINDOW, by=_BY_VERSION), _VERSION
            ),
        ),
    ]


def _sureness(share: float) -> str:
    return quantile(share, "convscope_top1_probability", MODEL, WINDOW, by=_BY_VERSION)


def _trials() -> Panel:
    return series(
        "Versions on trial",
        "The share of a model's requests that a canary answers, or that are copied to a shadow, "
        "as it was set.",
        SHARE,
        Query(
            f"max by ({_BY_VERSION}, kind) (convscope_traffic_share{{{MODEL}}})",
            f"{{{{kind}}}} {_VERSION}",
        ),
    )


def _shadow() -> list[Panel]:
    inputs = "convscope_shadow_inputs_total"
    compared = f'{MODEL}, outcome=~"agreed|disagreed"'
    return [
        series(
            "Shadow disagreement",
            "Share of the compared inputs whose best class the shadow saw otherwise than the "
            "version that answered. Callers notice nothing of it.",
            SHARE,
            Query(
                ratio(
                    rate(inputs, f'{MODEL}, outcome="disagreed"', WINDOW, by=_BY_SHADOW),
                    rate(inputs, compared, WINDOW, by=_BY_SHADOW),
                ),
                _SHADOW,
            ),
        ),
        series(
            "Difference of the shadow, p95",
            "The largest difference of a probability between the two versions, for 95 % of the "
            "inputs at most this.",
            SHARE,
            Query(
                quantile(0.95, "convscope_shadow_difference", MODEL, WINDOW, by=_BY_SHADOW),
                _SHADOW,
            ),
        ),
        series(
            "Inputs of the shadow",
            "What became of the inputs that the shadow was given, per second. Dropped ones gave "
            "way to callers.",
            COUNT,
            Query(rate(inputs, MODEL, WINDOW, by="model, outcome"), "{{model}} {{outcome}}"),
            stacked=True,
        ),
    ]


def _repository(objectives: Objectives) -> list[Panel]:
    return [
        series(
            "Age of the last look",
            "How long ago the remote repository was last seen whole. Only servers with a remote "
            "repository have it. From the dashed line on, or after three polls if those are longer "
            "apart, an alert tells.",
            SECONDS,
            Query(
                "time() - max by (instance) (convscope_repository_last_sync_timestamp_seconds)",
                "{{instance}}",
            ),
            limit=objectives.repository.stale_seconds,
        ),
        series(
            "Looks that failed, 10 min",
            "Looks at the remote repository that failed within the last ten minutes. Of several "
            "workers each counts its own.",
            COUNT,
            Query(
                "sum by (instance) (increase(convscope_repository_sync_failures_total[10m]))",
                "{{instance}}",
            ),
        ),
    ]
