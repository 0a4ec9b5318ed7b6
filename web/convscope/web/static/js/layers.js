// The pyramid of feature maps, from edges to objects, level by level.

import { showChannel } from "./channel_dialog.js";
import { showDiagram } from "./diagram.js";
import { byId, el } from "./dom.js";
import { kindOf, resolutionOf } from "./level_words.js";
import { levelsOf, pngUrl } from "./levels.js";
import { drawsWell } from "./models.js";
import { counted } from "./numbers.js";
import { allChannels, keepsPlaces } from "./requests.js";
import { choices, session } from "./state.js";

const ROWS = 3;
const FEWEST_PER_ROW = 4;
const MOST_PER_ROW = 8;

/** Levels of which all channels are shown; they belong to one result. */
let complete = { result: null, channels: new Map() };
let sections = new Map();

/** Show the levels of the image. */
export function showLayers() {
  session.on(["result", "image", "info"], update);
  choices.on(["tab", "drawing", "layers"], update);
  update();
}

function update() {
  const panel = byId("panel-layers");
  if (choices.values.tab !== "layers") return;
  const { result, image, info } = session.values;
  if (!image)
    return hint(
      panel,
      choices.values.drawing
        ? "Draw a digit, and the layers respond while you draw."
        : "Choose an image to see what each layer makes of it.",
    );
  if (info && !info.feature_maps.length)
    return hint(
      panel,
      "This version returns no feature maps. Export it again with the feature maps that you want to see.",
    );
  if (result?.maps !== choices.values.layers || !info || result.model !== info.name) {
    if (!sections.size)
      panel.replaceChildren(
        ...[0, 1, 2].map(() => el("div", { class: "level skeleton-level", "aria-hidden": "true" })),
      );
    return;
  }
  if (complete.result !== result) complete = { result, channels: new Map() };
  const levels = levelsOf(result, info);
  if (
    ![...sections.keys()].every((name, place) => name === levels[place]?.name) ||
    sections.size !== levels.length
  )
    build(panel, levels, info);
  showDiagram(panel.querySelector(".diagram"), levels, result);
  levels.forEach((level, place) => showLevel(sections.get(level.name), level, levels, place));
}

function hint(panel, text) {
  sections = new Map();
  panel.replaceChildren(el("p", { class: "hint", text }));
}

function build(panel, levels, info) {
  sections = new Map(
    levels.map((level, place) => [level.name, section(level, place, levels.length, info)]),
  );
  panel.replaceChildren(
    el("p", {
      class: "lead-in",
      text: "A network looks at an image in levels. From each to the next the image becomes smaller, and the number of things that the network looks for grows. Each picture below is one channel: bright where it responds.",
    }),
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

function section({ name, info: { shape }, info: map }, place, count, info) {
  const kind = kindOf(place, count, drawsWell(info));
  const id = `level-${place}`;
  return el(
    "section",
    { class: "level", id, "aria-labelledby": `${id}-title` },
    el(
      "div",
      { class: "level-words" },
      el("p", { class: "eyebrow", text: `Level ${place + 1} of ${count} · ${name}` }),
      el("h2", { id: `${id}-title`, text: kind.title, tabindex: -1 }),
      el("p", { text: kind.text }),
      el("p", { class: "note", text: resolutionOf(map, info.input) }),
      el(
        "figure",
        { class: "mosaic" },
        el("canvas", {
          width: shape[2],
          height: shape[1],
          role: "img",
          "aria-label": `The image in ${shape[2]} × ${shape[1]} pixels`,
        }),
        el("figcaption", { class: "note", text: `The image at this resolution` }),
      ),
    ),
    el(
      "div",
      { class: "level-maps" },
      el("p", { class: "level-count" }),
      el("ul", { class: "tiles", style: { "--columns": String(columns(shape, info)) } }),
      el("div", { class: "level-more" }),
    ),
  );
}

/**
 * Return the number of tiles in a row: they become smaller from level to level, as the maps do.
 */
function columns([, height], info) {
  const share = Math.log2(info.input.height / height) / Math.log2(info.input.height / 4);
  const even = 2 * Math.round((FEWEST_PER_ROW + 4 * share) / 2);
  return Math.min(MOST_PER_ROW, Math.max(FEWEST_PER_ROW, even));
}

function showLevel(node, level, levels, place) {
  const { result, name, info } = level;
  const all = complete.channels.get(name);
  const inOrder = keepsPlaces(result.image, session.values.info);
  const channels =
    all ??
    (inOrder
      ? inLayerOrder(level.channels)
      : level.channels.slice(0, ROWS * columns(info.shape, session.values.info)));
  const shown = { ...level, channels };
  const total = info.shape[0];
  node.querySelector(".level-count").textContent = countText(
    channels.length,
    total,
    inOrder && !all,
  );
  showTiles(
    node.querySelector(".tiles"),
    shown,
    () =>
      levels.map((each, at) =>
        at === place
          ? shown
          : {
              ...each,
              channels:
                complete.channels.get(each.name) ??
                (inOrder ? inLayerOrder(each.channels) : each.channels),
            },
      ),
    place,
  );
  node.querySelector(".level-more").replaceChildren(...moreButton(level, channels.length < total));
  paintMosaic(node.querySelector(".mosaic canvas"), result);
}

function inLayerOrder(channels) {
  return [...channels].sort((a, b) => a.index - b.index);
}

function countText(shown, total, inOrder) {
  if (inOrder) return `All ${counted(total, "channel")}, in the order of the layer`;
  return shown < total
    ? `The ${shown} strongest of ${counted(total, "channel")}`
    : `All ${counted(total, "channel")}, the strongest first`;
}

/** Existing tiles are kept, so that the focus stays and pictures change in place. */
function showTiles(list, level, levels, place) {
  const tiles = level.channels.map((channel, at) => {
    const item = list.children[at] ?? newTile();
    const button = item.firstElementChild;
    button.setAttribute("aria-label", `Channel ${channel.index} of ${level.name}, enlarge`);
    button.onclick = () => showChannel(levels(), place, at);
    button.firstElementChild.src = pngUrl(channel);
    button.firstElementChild.classList.toggle("quiet-channel", channel.strength === 0);
    return item;
  });
  if (tiles.length !== list.children.length || tiles.some((tile, at) => tile !== list.children[at]))
    list.replaceChildren(...tiles);
}

function newTile() {
  return el(
    "li",
    {},
    el("button", { type: "button", class: "tile" }, el("img", { alt: "", class: "map" })),
  );
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

/** @param {HTMLCanvasElement} canvas */
function paintMosaic(canvas, result) {
  const { crop } = result.results[0];
  canvas.parentElement.hidden = !crop;
  if (crop) result.image.drawCrop(canvas.getContext("2d"), crop);
}
