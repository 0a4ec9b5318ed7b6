// The pyramid of feature maps, from edges to objects, level by level.

import { showDiagram } from "./diagram.js";
import { byId, el } from "./dom.js";
import { firstTiles, newSection, paintMosaic } from "./level_section.js";
import { levelsOf } from "./levels.js";
import { counted } from "./numbers.js";
import { allChannels, keepsPlaces } from "./requests.js";
import { choices, session } from "./state.js";
import { showTiles } from "./tiles.js";

const CHOOSE = "Choose an image to see what each layer makes of it.";
const DRAW = "Draw a digit, and the layers respond while you draw.";
const FAILED = "There are no layers to show. The message above the image says why.";
const NONE =
  "This version returns no feature maps. Export it again with the feature maps that you want to see.";
const LEAD_IN =
  "A network looks at an image in levels. From each to the next the image becomes smaller, and the " +
  "number of things that the network looks for grows. Each picture below is one channel: bright " +
  "where it responds.";

/** Levels of which all channels are shown; they belong to one result. */
let complete = { result: null, channels: new Map() };
let sections = new Map();

/** Show the levels of the image. */
export function showLayers() {
  session.on(["result", "image", "info", "error"], update);
  choices.on(["tab", "drawing", "layers"], update);
  update();
}

function update() {
  const panel = byId("panel-layers");
  const { tab, drawing, layers } = choices.values;
  if (tab !== "layers") return;
  const { result, image, info, error } = session.values;
  if (!image) return hint(panel, drawing ? DRAW : CHOOSE);
  if (info && !info.feature_maps.length) return hint(panel, NONE);
  if (!result && error) return hint(panel, FAILED);
  if (!info || result?.maps !== layers || result.model !== info.name) return wait(panel);
  if (complete.result !== result) complete = { result, channels: new Map() };
  const levels = levelsOf(result, info);
  const names = levels.map(({ name }) => name).join();
  if ([...sections.keys()].join() !== names) build(panel, levels, info);
  showDiagram(panel.querySelector(".diagram"), levels, result);
  const shown = levels.map(shownOf);
  shown.forEach((level, place) => showLevel(sections.get(level.name), shown, place));
}

/** What is shown stays until the new result is there. */
function wait(panel) {
  if (sections.size) return;
  const skeleton = () => el("div", { class: "level skeleton-level", "aria-hidden": "true" });
  panel.replaceChildren(skeleton(), skeleton(), skeleton());
}

function hint(panel, text) {
  sections = new Map();
  panel.replaceChildren(el("p", { class: "hint", text }));
}

function build(panel, levels, info) {
  sections = new Map(
    levels.map((level, place) => [level.name, newSection(level, place, levels.length, info)]),
  );
  panel.replaceChildren(
    el("p", { class: "lead-in", text: LEAD_IN }),
    everyLayer(info),
    el("div", { class: "diagram" }),
    ...sections.values(),
  );
}

/** The choice between one level for each resolution, and every layer. */
function everyLayer({ feature_maps: all }) {
  if (all.every(({ is_stage: isStage }) => isStage)) return "";
  const box = el("input", {
    type: "checkbox",
    on: { change: () => choices.set({ layers: box.checked ? "all" : "stages" }) },
  });
  box.checked = choices.values.layers === "all";
  return el(
    "label",
    { class: "check" },
    box,
    el("span", { text: `Show all ${all.length} layers, not one for each resolution` }),
  );
}

/** Return a level with the channels that are shown of it. */
function shownOf(level) {
  const all = complete.channels.get(level.name);
  if (all) return { ...level, channels: all };
  const { info } = session.values;
  if (!keepsPlaces(level.result.image, info)) {
    return { ...level, channels: level.channels.slice(0, firstTiles(level.info, info)) };
  }
  return { ...level, channels: [...level.channels].sort((a, b) => a.index - b.index) };
}

/** @param {any} node @param {import("./levels.js").Level[]} levels @param {number} place */
function showLevel(node, levels, place) {
  const level = levels[place];
  const { result, channels, info } = level;
  const total = info.shape[0];
  const inOrder = keepsPlaces(result.image, session.values.info);
  node.querySelector(".level-count").textContent = countText(channels.length, total, inOrder);
  showTiles(node.querySelector(".tiles"), levels, place);
  node.querySelector(".level-more").replaceChildren(...moreButton(level, channels.length < total));
  paintMosaic(node.querySelector(".mosaic canvas"), result);
}

function countText(shown, total, inOrder) {
  if (inOrder) return `All ${counted(total, "channel")}, in the order of the layer`;
  return shown < total
    ? `The ${shown} strongest of ${counted(total, "channel")}`
    : `All ${counted(total, "channel")}, the strongest first`;
}

function moreButton(level, more) {
  if (!more || level.result.image.region) return [];
  const total = level.info.shape[0];
  return [
    el("button", {
      type: "button",
      class: "link",
      text: `Show all ${total}`,
      "aria-label": `Show all ${total} channels of ${level.name}`,
      on: { click: (event) => showAll(event.currentTarget, level) },
    }),
  ];
}

async function showAll(button, level) {
  const shown = sections.get(level.name).querySelectorAll(".tile").length;
  button.disabled = true;
  button.textContent = "Loading …";
  try {
    const { channels } = await allChannels(level.name, level.info.shape[0], level.result);
    if (complete.result !== level.result) return;
    complete.channels.set(level.name, channels);
    update();
    sections.get(level.name).querySelectorAll(".tile")[shown]?.focus(); // the first new one
  } catch (error) {
    button.disabled = false;
    button.textContent = `Try again: ${error.message}`;
  }
}
