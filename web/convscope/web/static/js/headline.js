// The answer as a headline, for readers and for screen readers.

import { announce } from "./announce.js";
import { byId, el } from "./dom.js";
import { isDrawing } from "./draw.js";
import { percent } from "./numbers.js";
import { choices, session } from "./state.js";

/** Show the answer, and announce it when it has settled. */
export function showHeadline() {
  session.on(["result", "image", "info", "busy"], update);
  choices.on(["drawing", "tab"], update);
  update();
}

function update() {
  const { result, image, info, busy } = session.values;
  const [best] = (image && result?.results[0].predictions) || [];
  byId("workspace").setAttribute("aria-busy", String(busy));
  document.title =
    image && best ? `${best.label}, ${percent(best.probability)} – Convscope` : "Convscope";
  if (image && best) showAnswer(best, result);
  else showNothing(image, info);
}

function showAnswer({ label, probability }, { model, version, provider }) {
  const text = percent(probability);
  byId("headline").replaceChildren(
    el("span", { class: "answer", text: label }),
    el("span", { class: "answer-probability", text: ` ${text}` }),
  );
  byId("subline").textContent = `${model}, version ${version}, on ${provider}`;
  if (!isDrawing()) announce(`${model} sees ${label}, ${text}.`);
}

function showNothing(image, info) {
  const name = info?.name ?? "Convscope";
  const isDrawn = choices.values.drawing && !image;
  const headline = isDrawn ? "Draw a digit" : image ? "What the network sees" : name;
  const version = info ? `version ${info.version}, on ${info.provider}` : "";
  byId("headline").textContent = headline;
  byId("subline").textContent = headline === name || !info ? version : `${name}, ${version}`;
}
