// One channel, enlarged. The arrow keys go to its neighbors and to other levels.

import { el } from "./dom.js";
import { icon } from "./icons.js";
import { pngUrl } from "./levels.js";
import { counted } from "./numbers.js";

const SIDE = 512;

/** @type {{levels: import("./levels.js").Level[], level: number, channel: number}} */
let shown = { levels: [], level: 0, channel: 0 };
let overPhoto = false;

const title = el("h2", { id: "channel-title" });
const canvas = el("canvas", {
  width: SIDE,
  height: SIDE,
  role: "img",
  "aria-labelledby": "channel-title",
});
const facts = el("p", { class: "note", "aria-live": "polite" });
const over = el("input", {
  type: "checkbox",
  on: { change: () => choose({ over: over.checked }) },
});
const dialog = el(
  "dialog",
  { class: "dialog channel", "aria-labelledby": "channel-title" },
  el(
    "div",
    { class: "dialog-top" },
    title,
    el(
      "button",
      {
        type: "button",
        class: "quiet icon-button",
        "aria-label": "Close",
        on: { click: () => dialog.close() },
      },
      icon("close"),
    ),
  ),
  el(
    "div",
    { class: "channel-picture" },
    arrow("previous", "Previous channel", -1),
    canvas,
    arrow("next", "Next channel", 1),
  ),
  facts,
  el("label", { class: "check" }, over, el("span", { text: "Show it over the image" })),
  el(
    "p",
    { class: "note keys" },
    el("kbd", { text: "←" }),
    " ",
    el("kbd", { text: "→" }),
    " channels ",
    el("kbd", { text: "↑" }),
    " ",
    el("kbd", { text: "↓" }),
    " levels ",
    el("kbd", { text: "O" }),
    " over the image ",
    el("kbd", { text: "Esc" }),
    " close",
  ),
);

function arrow(name, label, step) {
  return el(
    "button",
    {
      type: "button",
      class: "quiet icon-button",
      "aria-label": label,
      on: { click: () => move(step, 0) },
    },
    icon(name),
  );
}

/**
 * Enlarge a channel.
 * @param {import("./levels.js").Level[]} levels
 * @param {number} level Its place among the levels.
 * @param {number} channel Its place among the channels of the level.
 */
export function showChannel(levels, level, channel) {
  shown = { levels, level, channel };
  if (!dialog.isConnected) {
    document.body.append(dialog);
    dialog.addEventListener("keydown", key);
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }
  paint();
  dialog.showModal(); // the browser returns the focus to the tile at the end
}

/** @param {KeyboardEvent} event */
function key(event) {
  if (event.key === "ArrowRight") move(1, 0);
  else if (event.key === "ArrowLeft") move(-1, 0);
  else if (event.key === "ArrowDown") move(0, 1);
  else if (event.key === "ArrowUp") move(0, -1);
  else if (event.key === "o" || event.key === "O") choose({ over: !overPhoto });
  else return;
  event.preventDefault();
}

function move(channels, levels) {
  const level = Math.min(Math.max(shown.level + levels, 0), shown.levels.length - 1);
  const count = shown.levels[level].channels.length;
  const channel = levels
    ? Math.min(shown.channel, count - 1)
    : (shown.channel + channels + count) % count;
  shown = { ...shown, level, channel };
  paint();
}

function choose(options) {
  overPhoto = options.over;
  over.checked = overPhoto;
  paint();
}

async function paint() {
  const level = shown.levels[shown.level];
  const channel = level.channels[shown.channel];
  const { result, info } = level;
  const [, height, width] = info.shape;
  title.textContent = `${level.name}, channel ${channel.index}`;
  const [mean, low, high] = [channel.strength, channel.low, channel.high].map((value) =>
    value.toPrecision(3),
  );
  facts.textContent =
    `Picture ${shown.channel + 1} of ${level.channels.length}; ` +
    `the layer has ${counted(info.shape[0], "channel")}. ` +
    `${width} × ${height} positions, mean ${mean}; black is ${low}, white ${high}.`;
  const image = new Image();
  image.src = pngUrl(channel);
  await image.decode();
  if (shown.levels[shown.level].channels[shown.channel] !== channel) return;
  draw(image, result);
}

/** Over the photo, the places where the channel responds are as bright as the photo. */
function draw(image, result) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  canvas.height = Math.round((SIDE * image.naturalHeight) / image.naturalWidth);
  context.imageSmoothingEnabled = overPhoto;
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const { crop } = result.results[0];
  if (!overPhoto || !crop) return;
  const photo = el("canvas", { width: canvas.width, height: canvas.height }).getContext("2d");
  result.image.drawCrop(photo, crop);
  const below = photo.getImageData(0, 0, canvas.width, canvas.height);
  const map = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < map.data.length; at += 4) {
    const bright = 0.15 + (0.85 * map.data[at]) / 255;
    for (let channel = 0; channel < 3; channel++)
      map.data[at + channel] = below.data[at + channel] * bright;
  }
  context.putImageData(map, 0, 0);
}
