// The section of a level: words, the image at its resolution, and room for its channels.

import { el } from "./dom.js";
import { kindOf, resolutionOf } from "./level_words.js";
import { drawsWell } from "./models.js";

const ROWS = 3;
const FEWEST_PER_ROW = 4;
const MOST_PER_ROW = 8;

/**
 * Return the section of a level, still without pictures.
 * @param {import("./levels.js").Level} level
 * @param {number} place From 0.
 * @param {number} count The number of levels.
 * @param {any} info The description of the model.
 */
export function newSection({ name, info: map }, place, count, info) {
  const { shape } = map;
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
        el("figcaption", { class: "note", text: "The image at this resolution" }),
      ),
    ),
    el(
      "div",
      { class: "level-maps" },
      el("p", { class: "level-count" }),
      el("ul", { class: "tiles", style: { "--columns": String(columnsOf(map, info)) } }),
      el("div", { class: "level-more" }),
    ),
  );
}

/** Return the number of tiles in a row: they become smaller from level to level, as the maps do. */
function columnsOf({ shape }, { input }) {
  const share = Math.log2(input.height / shape[1]) / Math.log2(input.height / 4);
  const even = 2 * Math.round((FEWEST_PER_ROW + 4 * share) / 2);
  return Math.min(MOST_PER_ROW, Math.max(FEWEST_PER_ROW, even));
}

/** Return how many tiles of a level are shown at first. */
export function firstTiles(map, info) {
  return ROWS * columnsOf(map, info);
}

/**
 * Paint the image at the resolution of a level, as large as its canvas.
 * @param {HTMLCanvasElement} canvas
 * @param {any} result
 */
export function paintMosaic(canvas, result) {
  const { crop } = result.results[0];
  canvas.parentElement.hidden = !crop;
  if (crop) result.image.drawCrop(canvas.getContext("2d"), crop);
}
