// The controls of the heat: opacity, class, the class to contrast it with, method; and its scale.

import { byId, el, fillSelect } from "./dom.js";
import { heatColor } from "./heat.js";
import { methodsOf } from "./models.js";
import { percent, signed } from "./numbers.js";
import { choices, session } from "./state.js";

const MISSED = 0.5;
const SAYS_LITTLE =
  "For this answer, Grad-CAM says little about places. The method “Occlusion” says more.";
const METHODS = {
  "grad-cam": "Grad-CAM: the gradient of the class",
  cam: "CAM: exact for linear heads",
  "eigen-cam": "Eigen-CAM: what the network looks at",
  occlusion: "Occlusion: cover parts of the image",
};
const MOST_LIKELY = "Most probable";
const ALL = "All classes";
const ALPHABET = new Intl.Collator("en", { numeric: true });

const opacity = el("input", {
  type: "range",
  id: "opacity",
  min: 0,
  max: 1,
  step: 0.05,
  on: { input: () => choices.set({ opacity: Number(opacity.value) }) },
});
const target = el("select", {
  id: "target",
  on: { change: () => chooseTarget(number(target.value)) },
});
const against = el("select", {
  id: "against",
  on: { change: () => choices.set({ against: number(against.value) }) },
});
const method = el("select", {
  id: "method",
  on: {
    change: () =>
      choices.set({
        method: method.value === methodsOf(session.values.info)[0] ? "" : method.value,
      }),
  },
});
const scale = el("canvas", { class: "scale-colors", width: 255, height: 1, "aria-hidden": "true" });
const ends = [el("span"), el("span", { text: "0" }), el("span")];
const meaning = el("p", { class: "meaning" });
const facts = el("p", { class: "note" });

/** Show the controls while there is heat. */
export function showHeatControls() {
  byId("heat-controls").append(
    el(
      "div",
      { class: "scale" },
      scale,
      el("div", { class: "scale-ends", "aria-hidden": "true" }, ...ends),
    ),
    meaning,
    facts,
    el("label", { class: "field opacity" }, el("span", { text: "Heat" }), opacity),
    el(
      "div",
      { class: "fields" },
      field("Explain", target),
      field("Rather than", against),
      field("Method", method),
    ),
  );
  paintScale();
  session.on(["result", "labels", "info"], update);
  choices.on(["target", "against", "method"], update);
  choices.on(["opacity"], showOpacity);
  showOpacity();
}

/**
 * Choose the class to explain; null is the most probable one.
 * @param {number | null} index
 */
export function chooseTarget(index) {
  choices.set({
    target: index,
    against: index === choices.values.against ? null : choices.values.against,
  });
}

/** @param {string} text @param {HTMLElement} control */
function field(text, control) {
  return el("label", { class: "field" }, el("span", { text }), control);
}

function update() {
  const { result, labels, info } = session.values;
  const current = result?.results[0];
  const [explanation] = current?.explanations ?? [];
  byId("heat-controls").hidden = !explanation;
  if (!explanation) return;
  const best = current.predictions;
  const options = classOptions(best, labels);
  fillSelect(
    target,
    [{ value: "", text: `The best: ${best[0]?.label ?? ""}` }, ...options],
    text(choices.values.target),
  );
  fillSelect(
    against,
    [
      { value: "", text: "nothing" },
      ...options.filter(({ value }) => value !== text(explanation.class_index)),
    ],
    text(choices.values.against),
  );
  against.disabled = explanation.method === "eigen-cam";
  fillSelect(
    method,
    methodsOf(info).map((value) => ({ value, text: METHODS[value] ?? value })),
    choices.values.method || methodsOf(info)[0],
  );
  describe(explanation, info);
}

function showOpacity() {
  opacity.value = String(choices.values.opacity);
  opacity.setAttribute("aria-valuetext", `${Math.round(100 * choices.values.opacity)}% opaque`);
}

/** The most probable classes come first, and then all of them. */
function classOptions(best, labels) {
  return [
    ...best.map(({ index, label, probability }) => ({
      value: String(index),
      text: `${label}, ${percent(probability)}`,
      group: MOST_LIKELY,
    })),
    ...labels
      .map((label, index) => ({ value: String(index), text: label, group: ALL }))
      .filter(({ value }) => !best.some(({ index }) => String(index) === value))
      .sort((a, b) => ALPHABET.compare(a.text, b.text)),
  ];
}

/** Say what the colors mean. */
function describe(explanation, info) {
  const { label, limit, logit, share } = explanation;
  const contrast = explanation.against?.label;
  ends[0].textContent = signed(-limit);
  ends[2].textContent = signed(limit);
  if (explanation.method === "eigen-cam") {
    meaning.textContent = "Orange marks what the network looks at. It is the same for all classes.";
    facts.textContent = "";
    return;
  }
  meaning.replaceChildren(
    el("strong", { class: "for", text: "Orange" }),
    ` speaks for ${label}, `,
    el("strong", { class: "against", text: "blue" }),
    contrast ? ` for ${contrast}.` : " against it.",
  );
  const explained =
    share === null || share === undefined
      ? ""
      : `, of which the heat explains ${Math.round(100 * share)}%`;
  const [height, width] = explanation.shape;
  facts.textContent =
    `${contrast ? "Difference of the logits" : "Logit"} ${signed(logit)}${explained}. ` +
    `The network sees this in ${width} × ${height} cells; the picture is smoothed.` +
    (saysLittle(explanation, info) ? ` ${SAYS_LITTLE}` : "");
}

/** Report whether the heat misses most of the logit, as it does for networks with dense layers. */
function saysLittle({ method: used, share }, info) {
  const explains = Math.abs((share ?? 0) - 1) <= MISSED;
  return used === "grad-cam" && !explains && methodsOf(info).includes("occlusion");
}

function paintScale() {
  const context = scale.getContext("2d");
  for (let x = 0; x < scale.width; x++) {
    const heat = (2 * x) / (scale.width - 1) - 1;
    const [red, green, blue] = heatColor(heat);
    context.fillStyle = `rgba(${red}, ${green}, ${blue}, ${Math.min(1, 0.05 + Math.abs(heat))})`;
    context.fillRect(x, 0, 1, 1);
  }
}

/** @param {string} value */
function number(value) {
  return value === "" ? null : Number(value);
}

/** @param {number | null} value */
function text(value) {
  return value === null ? "" : String(value);
}
