"""The style of the dashboards: units, colors, legends and variables, each in one place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as StatPanel
from grafana_foundation_sdk.builders.table import Panel as TablePanel
from grafana_foundation_sdk.builders.timeseries import Panel as SeriesPanel
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

__all__ = [
    "BYTES",
    "CALLS_A_SECOND",
    "COUNT",
    "MODEL",
    "SECONDS",
    "SHARE",
    "WINDOW",
    "Panel",
    "Query",
    "Row",
    "at_least",
    "at_most",
    "compose",
    "series",
    "stat",
    "table",
]

# Grafana's names for the units.
BYTES = "bytes"
CALLS_A_SECOND = "reqps"
COUNT = "short"
SECONDS = "s"
SHARE = "percentunit"

# Grafana fills these in: the models selected above the panels, and a range of some scrapes.
MODEL = 'model=~"$model"'
WINDOW = "$__rate_interval"

_TAG = "convscope"
_SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
_STAT_HEIGHT, _HEIGHT = 4, 9
_FULL_WIDTH = 24

Panel = StatPanel | SeriesPanel | TablePanel


@dataclass(frozen=True, slots=True)
class Query:
    """A query of a panel, and the legend for each series of its result."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side with equal widths, under an optional heading."""

    title: str
    panels: Sequence[Panel]


def stat(
    title: str,
    description: str,
    unit: str,
    expression: str,
    *,
    thresholds: Sequence[dashboard.Threshold] = (),
    decimals: int | None = None,
) -> StatPanel:
    """Make a panel of one number, colored by the thresholds, with its history behind it."""
    panel = (
        StatPanel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .height(_STAT_HEIGHT)
        .unit(unit)
        .thresholds(_thresholds(thresholds))
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.AREA)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_target(Query(expression), "A").range())
    )
    return panel if decimals is None else panel.decimals(decimals)


def series(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    stacked: bool = False,
    limit: float | None = None,
) -> SeriesPanel:
    """Make a panel of lines over time. The `limit` is a dashed line."""
    panel = (
        SeriesPanel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .height(_HEIGHT)
        .unit(unit)
        .min(0)
        .draw_style(common.GraphDrawStyle.LINE)
        .line_width(1 if stacked else 2)
        .fill_opacity(60 if stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .calcs(["mean", "max"])
        )
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
    )
    for index, query in enumerate(queries):
        panel.with_target(_target(query, chr(ord("A") + index)).range())
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if limit is not None:
        dashed = common.GraphThresholdsStyleMode.DASHED
        panel.thresholds(_thresholds(at_most(limit)))
        panel.thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(dashed))
    return panel


def table(title: str, description: str, expression: str, columns: Mapping[str, str]) -> TablePanel:
    """Make a table with a row for each series. The `columns` map labels to headings."""
    order = {label: place for place, label in enumerate(columns)}
    organise = dashboard.DataTransformerConfig(
        id_val="organize",
        options={
            "excludeByName": {"Time": True, "Value": True},
            "indexByName": order,
            "renameByName": dict(columns),
        },
    )
    first = next(iter(columns.values()))
    return (
        TablePanel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .height(_HEIGHT)
        .unit("none")
        .sort_by([common_builders.TableSortByFieldState().display_name(first)])
        .with_target(_target(Query(expression), "A").instant().format(PromQueryFormat.TABLE))
        .with_transformation(organise)
    )


def at_most(limit: float, near: float | None = None) -> list[dashboard.Threshold]:
    """Return thresholds: green, then orange from `near`, then red from the limit."""
    steps = [(None, "green"), (near, "orange"), (limit, "red")]
    return [
        dashboard.Threshold(value=value, color=color)
        for value, color in steps
        if value is not None or color == "green"
    ]


def at_least(limit: float) -> list[dashboard.Threshold]:
    """Return thresholds: red, then green from the limit."""
    return [
        dashboard.Threshold(value=None, color="red"),
        dashboard.Threshold(value=limit, color="green"),
    ]


def compose(uid: str, title: str, description: str, rows: Sequence[Row]) -> dashboard.Dashboard:
    """Build a dashboard of the rows, with the variables and links that every dashboard has."""
    builder = (
        builders.Dashboard(title)
        .uid(f"convscope-{uid}")
        .description(description)
        .tags([_TAG])
        .readonly()
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .refresh("10s")
        .time("now-30m", "now")
        .with_variable(_source_variable())
        .with_variable(_model_variable())
        .link(_links())
    )
    for row in rows:
        if row.title:
            builder.with_row(builders.Row(row.title))
        for panel in row.panels:
            builder.with_panel(panel.span(_FULL_WIDTH // len(row.panels)))
    built = builder.build()
    for number, placed in enumerate(built.panels or [], start=1):
        placed.id_val = number
    return built


def _target(query: Query, letter: str) -> Dataquery:
    return (
        Dataquery()
        .datasource(_SOURCE)
        .editor_mode(QueryEditorMode.CODE)
        .expr(query.expression)
        .legend_format(query.legend)
        .ref_id(letter)
    )


def _thresholds(steps: Sequence[dashboard.Threshold]) -> builders.ThresholdsConfig:
    plain = [dashboard.Threshold(value=None, color="text")]
    return (
        builders.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps(list(steps) or plain)
    )


def _source_variable() -> builders.DatasourceVariable:
    """Make the variable that selects the Prometheus. The default is the provisioned one."""
    chosen = dashboard.VariableOption(
        selected=True, text="Prometheus", value="convscope-prometheus"
    )
    return (
        builders.DatasourceVariable("datasource")
        .label("Data source")
        .description("The Prometheus that scrapes the servers.")
        .type("prometheus")
        .current(chosen)
    )


def _model_variable() -> builders.QueryVariable:
    """Make the variable that selects models. The default is all models."""
    query = "label_values(convscope_model_info, model)"
    return (
        builders.QueryVariable("model")
        .label("Model")
        .description("The models that the panels by model show.")
        .datasource(_SOURCE)
        .query({"query": query, "refId": "model"})
        .definition(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _links() -> builders.DashboardLink:
    """Link each dashboard to the others, with the same models and time range."""
    return (
        builders.DashboardLink("Convscope")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([_TAG])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )
