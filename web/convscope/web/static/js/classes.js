// The classes, with bars. Clicking one explains it.

import { byId, el } from "./dom.js";
import { chooseTarget } from "./heat_controls.js";
import { methodsOf } from "./models.js";
import { percent } from "./numbers.js";
import { choices, session } from "./state.js";

// With so few classes, each keeps its place while drawing.
const FEW = 12;

/** Show the classes of the image. */
export function showClasses() {
  session.on(["result", "image", "busy", "info"], update);
  choices.on(["target", "drawing"], update);
}

/** The buttons are kept, so that they keep the focus and their bars move. */
function update() {
  const panel = byId("panel-classes");
  const { result, info, image } = session.values;
  const predictions = result?.results[0].predictions ?? [];
  if (!image)
    return panel.replaceChildren(
      el("p", {
        class: "hint",
        text: choices.values.drawing
          ? "Draw a digit. The network answers while you draw."
          : "Choose an image to see its classes.",
      }),
    );
  if (info?.task === "feature_extraction")
    return panel.replaceChildren(
      el("p", {
        class: "hint",
        text:
          "This model is a filter bank: it has no classes. The tab “Layers” shows what its " +
          "filters respond to.",
      }),
    );
  if (!predictions.length) return panel.replaceChildren(loadingBars());
  const list = panel.querySelector("ol.classes") ?? el("ol", { class: "classes" });
  const explained = result.results[0].explanations[0]?.class_index;
  const rows = ordered(predictions, image).map((prediction, place) =>
    row(list.children[place], prediction, explained, predictions[0]),
  );
  if (
    rows.some((each, place) => each !== list.children[place]) ||
    rows.length !== list.children.length
  )
    list.replaceChildren(...rows);
  const explains = methodsOf(info).length > 0;
  const notes = panel.querySelector(".class-notes") ?? el("div", { class: "class-notes" });
  if (!list.isConnected) panel.replaceChildren(list, notes);
  notes.replaceChildren(
    el("p", {
      class: "note",
      text: explains
        ? "Choose a class to see which parts of the image speak for it."
        : reason(info),
    }),
    timing(result),
  );
}

function reason(info) {
  const why = info?.explanations?.reason;
  return `This version offers no explanations${why ? `: ${why}` : ""}.`;
}

/** @param {any[]} predictions */
function ordered(predictions, image) {
  if (!image.region || session.values.labels.length > FEW) return predictions;
  return [...predictions].sort((a, b) => a.index - b.index);
}

function row(existing, { index, label, probability }, explained, best) {
  const item = existing ?? newRow();
  const button = item.firstElementChild;
  button.onclick = () => chooseTarget(index === best.index ? null : index);
  button.setAttribute("aria-pressed", String(index === explained));
  button.disabled = explained === undefined;
  button.classList.toggle("best", index === best.index);
  button.querySelector(".label").textContent = label;
  button.querySelector(".percent").textContent = percent(probability);
  button.querySelector(".bar").style.setProperty("--part", String(probability));
  return item;
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
