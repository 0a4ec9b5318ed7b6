// Two versions or models, side by side, on the same image.

import { byId, el, fillSelect } from "./dom.js";
import { showError } from "./errors.js";
import { HeatView } from "./heat_view.js";
import { levelsOf, pngUrl } from "./levels.js";
import { versionOptions } from "./models.js";
import { percent } from "./numbers.js";
import { refreshComparison } from "./comparison.js";
import { choices, session } from "./state.js";

const CLASSES = 5;
const CHANNELS = 6;

const model = el("select", {
  id: "other-model",
  on: { change: () => choices.set({ otherModel: model.value, otherVersion: "" }) },
});
const version = el("select", {
  id: "other-version",
  on: { change: () => choices.set({ otherVersion: version.value }) },
});
const verdict = el("p", { class: "verdict", role: "status" });
const error = el("div");
const [left, right] = [column("A"), column("B")];

/** Show both results. */
export function showCompare() {
  byId("panel-compare").append(
    el(
      "div",
      { class: "compare-choice" },
      el("p", { text: "Compare with" }),
      el("label", { class: "field" }, el("span", { text: "Model" }), model),
      el("label", { class: "field" }, el("span", { text: "Version" }), version),
    ),
    verdict,
    error,
    el("div", { class: "compare-columns" }, left.node, right.node),
  );
  session.on(["models", "result", "other", "image", "info", "otherError"], update);
  choices.on(["tab", "otherModel", "otherVersion", "model", "version", "opacity"], update);
}

function column(letter) {
  const view = new HeatView();
  const parts = {
    name: el("h2"),
    answer: el("p", { class: "compare-answer" }),
    heat: el("p", { class: "note" }),
    classes: el("ol", { class: "small-classes" }),
    levels: el("div", { class: "small-levels" }),
  };
  const node = el(
    "section",
    { class: "compare-column", "aria-label": `Network ${letter}` },
    parts.name,
    parts.answer,
    view.frame,
    parts.heat,
    parts.classes,
    parts.levels,
  );
  return { node, view, ...parts };
}

function update() {
  if (choices.values.tab !== "compare" || !session.values.models.length || !choices.values.model)
    return;
  if (!choices.values.otherModel) choices.set(other());
  const { models, image, info, result, other: second, otherError } = session.values;
  fillSelect(
    model,
    models.map(({ name }) => ({ value: name, text: name })),
    choices.values.otherModel,
  );
  fillSelect(
    version,
    versionOptions(models.find(({ name }) => name === choices.values.otherModel)),
    choices.values.otherVersion,
  );
  showError(error, otherError, () => {
    session.set({ other: null, otherError: null });
    refreshComparison();
  });
  const first = image && result ? result : null;
  const both = first && second?.results && image ? second : null;
  showColumn(left, first, info);
  showColumn(right, both, both?.info);
  verdict.textContent = image
    ? sentence(first, both, otherError)
    : "Choose an image, and two networks look at it.";
}

/** Return what to compare with: another version if there is one, or another model. */
function other() {
  const { models } = session.values;
  const { model: own, version: ownVersion } = choices.values;
  const entry = models.find(({ name }) => name === own);
  const current = ownVersion || String(entry?.default_version ?? "");
  const sibling = entry?.versions.find(
    (each) => each.state === "ready" && String(each.version) !== current,
  );
  if (sibling) return { otherModel: own, otherVersion: String(sibling.version) };
  const another = models.find(({ name, ready }) => ready && name !== own);
  return { otherModel: another?.name ?? own, otherVersion: "" };
}

function sentence(first, second, failed) {
  if (failed) return "";
  const [a, b] = [first?.results[0].predictions[0], second?.results[0].predictions[0]];
  if (first && second && !(a && b)) return "A filter bank has no classes to compare.";
  if (!a || !b) return "The networks look at the image …";
  if (a.label === b.label)
    return `Both see ${a.label}: ${percent(a.probability)} and ${percent(b.probability)}.`;
  if (!session.values.labels.includes(b.label))
    return (
      `They know different classes: ${first.model} sees ${a.label}, ${second.model} sees ` +
      `${b.label}.`
    );
  return `They disagree: ${first.model} sees ${a.label}, ${second.model} sees ${b.label}.`;
}

function showColumn({ node, view, name, answer, heat, classes, levels }, result, info) {
  node.classList.toggle("waiting", !result);
  view.frame.hidden = !result;
  if (!result) {
    name.textContent = answer.textContent = heat.textContent = "";
    classes.replaceChildren();
    levels.replaceChildren();
    return;
  }
  const { predictions, explanations, crop } = result.results[0];
  const [explanation] = explanations;
  name.textContent = `${result.model}, version ${result.version}`;
  answer.replaceChildren(
    ...(predictions[0]
      ? [
          el("span", { text: `${predictions[0].label} ` }),
          el("span", { class: "answer-probability", text: percent(predictions[0].probability) }),
        ]
      : ["no classes"]),
  );
  if (view.shown !== result.image) view.showImage(result.image);
  view.shown = result.image;
  view.showHeat(result.image, explanation, crop, choices.values.opacity);
  heat.textContent = explanation
    ? `The heat speaks for ${explanation.label}. ${Math.round(result.timing_ms.total)} ms.`
    : "This version offers no explanations.";
  classes.replaceChildren(...predictions.slice(0, CLASSES).map(smallRow));
  levels.replaceChildren(...(info ? levelsOf(result, info).map(smallLevel) : []));
}

function smallRow({ label, probability }) {
  return el(
    "li",
    {},
    el("span", { class: "label", text: label }),
    el("span", { class: "percent", text: percent(probability) }),
    el(
      "span",
      { class: "bar-track", "aria-hidden": "true" },
      el("span", { class: "bar", style: { "--part": String(probability) } }),
    ),
  );
}

function smallLevel(level) {
  const [channels, height, width] = level.info.shape;
  const strongest = [...level.channels].sort((a, b) => b.strength - a.strength).slice(0, CHANNELS);
  return el(
    "figure",
    {},
    el("figcaption", {
      class: "note",
      text: `${level.name} · ${width} × ${height}, ${channels} channels`,
    }),
    el(
      "div",
      {
        class: "small-tiles",
        role: "img",
        "aria-label": `The strongest channels of ${level.name}`,
      },
      ...strongest.map((channel) => el("img", { class: "map", alt: "", src: pngUrl(channel) })),
    ),
  );
}
