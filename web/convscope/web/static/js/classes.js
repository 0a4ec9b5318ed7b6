// The classes, with bars. Clicking one explains it.

import { byId, el } from "./dom.js";
import { chooseTarget } from "./heat_controls.js";
import { explainsSlowly, methodsOf } from "./models.js";
import { percent } from "./numbers.js";
import { choices, session } from "./state.js";

// With so few classes, each keeps its place while drawing.
const FEW = 12;
const CHOOSE = "Choose an image to see its classes.";
const DRAW = "Draw a digit. The network answers while you draw.";
const FILTER_BANK =
  "This model is a filter bank: it has no classes. The tab “Layers” shows what its filters " +
  "respond to.";
const FAILED = "There are no classes to show. The message above the image says why.";
const ALWAYS = "A network always chooses among its classes, even if the image shows none of them.";
const UNSURE = 0.5;
const SLOW =
  "Choose a class to see which parts of the image speak for it. It takes a moment, because the " +
  "server covers one part after another.";

/** Show the classes of the image. */
export function showClasses() {
  session.on(["result", "image", "busy", "info", "error"], update);
  choices.on(["target", "drawing"], update);
}

function update() {
  const panel = byId("panel-classes");
  const { result, info, image, error } = session.values;
  const predictions = result?.results[0].predictions ?? [];
  if (!image) return hint(panel, choices.values.drawing ? DRAW : CHOOSE);
  if (info?.task === "feature_extraction") return hint(panel, FILTER_BANK);
  if (!predictions.length && error) return hint(panel, FAILED);
  if (!predictions.length) return panel.replaceChildren(loadingBars());
  const list = panel.querySelector("ol.classes") ?? el("ol", { class: "classes" });
  const notes = panel.querySelector(".class-notes") ?? el("div", { class: "class-notes" });
  if (!list.isConnected) panel.replaceChildren(list, notes);
  showRows(list, ordered(predictions, image), result.results[0], info);
  const lines = [advice(info), ...(predictions[0].probability < UNSURE ? [ALWAYS] : [])];
  notes.replaceChildren(
    ...lines.map((text) => el("p", { class: "note", text })),
    timing(result),
  );
}

function hint(panel, text) {
  panel.replaceChildren(el("p", { class: "hint", text }));
}

/** Existing rows are kept, so that they keep the focus and their bars move. */
function showRows(list, predictions, { predictions: [best], explanations: [explanation] }, info) {
  const rows = predictions.map((prediction, place) => {
    const item = list.children[place] ?? newRow();
    showRow(item.firstElementChild, prediction, best, explanation?.class_index, info);
    return item;
  });
  if (rows.length !== list.children.length) list.replaceChildren(...rows);
}

function advice(info) {
  if (explainsSlowly(info)) return SLOW;
  if (methodsOf(info).length) return "Choose a class to see which parts of the image speak for it.";
  const why = info?.explanations?.reason;
  return `This version offers no explanations${why ? `: ${why}` : ""}.`;
}

/** @param {any[]} predictions */
function ordered(predictions, image) {
  if (!image.region || session.values.labels.length > FEW) return predictions;
  return [...predictions].sort((a, b) => a.index - b.index);
}

function showRow(button, { index, label, probability }, best, explained, info) {
  // The best class is chosen by its rank, so that the next image's best class is explained.
  const target = index === best.index && !explainsSlowly(info) ? null : index;
  button.onclick = () => chooseTarget(target);
  button.setAttribute("aria-pressed", String(index === explained));
  button.disabled = methodsOf(info).length === 0;
  button.classList.toggle("best", index === best.index);
  button.querySelector(".label").textContent = label;
  button.querySelector(".percent").textContent = percent(probability);
  button.querySelector(".bar").style.setProperty("--part", String(probability));
}

function newRow() {
  const bar = el(
    "span",
    { class: "bar-track", "aria-hidden": "true" },
    el("span", { class: "bar" }),
  );
  return el(
    "li",
    {},
    el(
      "button",
      { type: "button", class: "class-row" },
      el("span", { class: "label" }),
      el("span", { class: "percent" }),
      bar,
    ),
  );
}

function loadingBars() {
  const bars = [0.9, 0.5, 0.35, 0.25, 0.2].map((part) =>
    el("li", { class: "skeleton", style: { "--part": String(part) } }),
  );
  return el("ol", { class: "loading", "aria-hidden": "true" }, ...bars);
}

function timing({ timing_ms: times, provider, seconds }) {
  const parts = ["decode", "queue", "infer", "encode"].map(
    (name) => `${name} ${times[name].toFixed(1)} ms`,
  );
  return el("p", {
    class: "note timing",
    text: `On ${provider}: ${parts.join(" · ")}. ${Math.round(1000 * seconds)} ms in total.`,
  });
}
