// What the server knows about the version.

import { byId, el } from "./dom.js";
import { showLabels } from "./labels.js";
import { counted, size, whole } from "./numbers.js";
import { session } from "./state.js";

/** Show the details of the chosen version. */
export function showDetails() {
  session.on(["info", "labels"], update);
}

function update() {
  const { info, labels } = session.values;
  if (!info) return;
  byId("panel-details").replaceChildren(
    ...group("In short", summary(info)),
    ...group("From image to input", steps(info)),
    ...group("Layers that can be shown", maps(info)),
    ...(info.metrics.length ? group("Measured", metrics(info)) : []),
    ...group("Provenance", facts(provenance(info))),
    ...group("On this server", facts(execution(info))),
    ...(labels.length ? group(`Labels`, showLabels(labels)) : []),
  );
}

/** @param {string} title @param {HTMLElement} content */
function group(title, content) {
  return [el("h2", { text: title }), content];
}

/** @param {[string, string][]} rows */
function facts(rows) {
  return el(
    "dl",
    { class: "facts" },
    ...rows
      .filter(([, text]) => text)
      .map(([name, text]) => el("div", {}, el("dt", { text: name }), el("dd", { text }))),
  );
}

function summary(info) {
  const { input } = info;
  const takes =
    input.kind === "tensor"
      ? `${input.dtype} [${input.shape.join(", ")}]`
      : `${input.width} × ${input.height} pixels, ${input.channels === 1 ? "gray" : "color"}`;
  return facts([
    ["Version", `${info.version}${info.is_default ? ", the default" : ""}`],
    ["Aliases", info.aliases.join(", ")],
    [
      "Task",
      info.task === "classification"
        ? `${counted(info.labels, "class", "classes")}, ${info.activation}`
        : "feature extraction, without classes",
    ],
    ["Input", takes],
    ["Parameters", info.provenance.parameters ? whole(info.provenance.parameters) : ""],
    ["Precision", precision(info)],
    [
      "Explanations",
      info.explanations.methods.join(", ") ||
        `none: ${info.explanations.reason || "the version has none"}`,
    ],
    [
      "Attention",
      info.nonfinite_inputs.length
        ? `Some inputs have no finite result: ${info.nonfinite_inputs.join(", ")}`
        : "",
    ],
  ]);
}

function steps(info) {
  return el("ul", { class: "steps" }, ...info.preprocessing.map((text) => el("li", { text })));
}

function maps(info) {
  if (!info.feature_maps.length) return el("p", { class: "note", text: "None." });
  return table(
    ["Name", "Channels", "Positions", "Pixels each"],
    info.feature_maps.map(({ name, shape, stride }) => [
      name,
      whole(shape[0]),
      shape.slice(1).reverse().join(" × "),
      `${Math.round(stride)} × ${Math.round(stride)}`,
    ]),
  );
}

function metrics(info) {
  return table(
    ["Metric", "Value", "On"],
    info.metrics.map(({ name, value, split }) => [
      name.replaceAll("_", " "),
      Number(value.toPrecision(4)).toString(),
      split,
    ]),
  );
}

/** @param {string[]} head @param {string[][]} rows */
function table(head, rows) {
  const cells = (/** @type {string[]} */ row) =>
    row.map((text, place) => (place ? el("td", { text }) : el("th", { scope: "row", text })));
  return el(
    "div",
    { class: "table", tabindex: 0, role: "region", "aria-label": head[0] },
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col", text })))),
      el("tbody", {}, ...rows.map((row) => el("tr", {}, ...cells(row)))),
    ),
  );
}

/** @returns {[string, string][]} */
function provenance({ provenance: from }) {
  return [
    ["Architecture", from.architecture],
    ["Weights", from.weights],
    ["License of the weights", from.weights_license],
    ["Trained on", from.dataset],
    ["Made from", from.parent],
    [
      "Exported",
      from.created_at
        ? new Date(from.created_at).toLocaleString("en", { dateStyle: "long", timeStyle: "short" })
        : "",
    ],
    [
      "With",
      [
        from.torch_version && `PyTorch ${from.torch_version}`,
        from.onnx_version && `ONNX ${from.onnx_version}`,
        from.convscope_version && `Convscope ${from.convscope_version}`,
      ]
        .filter(Boolean)
        .join(", "),
    ],
  ];
}

/** The precision of the graph, and that in which its provider computes if it is another one. */
function precision({ precision: graph, compute_precision: computes }) {
  return computes && computes !== "fp32" && computes !== graph
    ? `${graph}, computed in ${computes}`
    : graph;
}

/** @returns {[string, string][]} */
function execution({ provider, fallback_from: wished, execution: runs, limits }) {
  return [
    ["Execution provider", wished ? `${provider}, instead of ${wished}` : provider],
    [
      "Batches",
      runs
        ? `up to ${counted(runs.max_batch, "image")}, ${counted(Math.max(runs.runners, 1), "batch", "batches")} at once`
        : "",
    ],
    ["Reason", runs?.reason ?? ""],
    ["Largest image", size(limits.max_image_bytes)],
  ];
}
