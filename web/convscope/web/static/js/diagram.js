// The network at a glance: a slab for each level, as tall as its maps and as thick as it has
// channels. The strongest channel is painted on its face.

import { el } from "./dom.js";
import { pngUrl } from "./levels.js";
import { percent } from "./numbers.js";

const HEIGHT = 250;
const TALLEST = 168;
const SHORTEST = 26;
const BASELINE = 214;
const ACROSS = 0.42; // of a face's height; it is seen from the side
const RISE = 0.26;
const GAP = 16;
const LEFT = 8;
const LARGEST = 1.3; // times the size of its text

/**
 * Show the diagram.
 * @param {HTMLElement} container
 * @param {import("./levels.js").Level[]} levels
 * @param {any} result
 */
export function showDiagram(container, levels, result) {
  const { image, results } = result;
  const { crop, predictions } = results[0];
  const tallest = Math.max(...levels.map(({ info }) => info.shape[1]));
  let left = LEFT;
  const slabs = [];
  const add = (face, depth, picture, lines, link) => {
    slabs.push(slab(left, face, depth, picture, lines, link));
    left += depth + ACROSS * face + GAP;
  };
  if (crop) add(TALLEST, 4, croppedUrl(image, crop), ["what the", "network sees"], null);
  levels.forEach((level, place) => {
    const [channels, height, width] = level.info.shape;
    const face = Math.max(SHORTEST, 0.94 * TALLEST * Math.sqrt(height / tallest));
    const strongest = level.channels.reduce(
      (best, each) => (each.strength > best.strength ? each : best),
      level.channels[0],
    );
    add(
      face,
      5 * Math.log2(channels + 1),
      pngUrl(strongest),
      [`${width} × ${height}`, `${channels} ch.`],
      {
        target: `level-${place}`,
        name: `Level ${place + 1}, ${level.name}: ${width} × ${height}, ${channels} channels`,
      },
    );
  });
  const [best] = predictions;
  const width = left + (best ? 10 + 8.2 * Math.max(best.label.length, 6) : 0);
  const svg = el(
    "svg",
    {
      viewBox: `0 0 ${Math.round(width)} ${HEIGHT}`,
      style: { width: `min(100%, ${Math.round(LARGEST * width)}px)` },
      role: "group",
      "aria-label": "The levels of the network",
    },
    ...slabs,
  );
  if (best) svg.append(answer(left, best));
  replaceKeepingFocus(container, svg);
}

/** A box that is drawn from the side: front, top, and the face with the picture. */
function slab(left, face, depth, picture, lines, link) {
  const across = ACROSS * face;
  const rise = RISE * face;
  const top = BASELINE - face;
  const right = left + depth;
  const corners = (/** @type {number[][]} */ points) =>
    points.map((point) => point.map((value) => value.toFixed(1)).join(",")).join(" ");
  const shape = [
    el("polygon", {
      class: "slab-top",
      points: corners([
        [left, top],
        [left + across, top - rise],
        [right + across, top - rise],
        [right, top],
      ]),
    }),
    el("rect", { class: "slab-front", x: left, y: top, width: depth, height: face }),
    el("image", {
      href: picture,
      width: 1,
      height: 1,
      preserveAspectRatio: "none",
      transform: `matrix(${across} ${-rise} 0 ${face} ${right} ${top})`,
    }),
    el("polygon", {
      class: "slab-edge",
      points: corners([
        [right, top],
        [right + across, top - rise],
        [right + across, BASELINE - rise],
        [right, BASELINE],
      ]),
    }),
    ...lines.map((text, line) =>
      el("text", { class: "slab-text", x: left, y: BASELINE + 15 + 14 * line, text }),
    ),
  ];
  if (!link) return el("g", { "aria-hidden": "true" }, ...shape);
  const anchor = document.createElementNS("http://www.w3.org/2000/svg", "a");
  anchor.setAttribute("href", `#${link.target}`);
  anchor.setAttribute("aria-label", link.name);
  anchor.setAttribute("class", "slab");
  anchor.append(...shape);
  anchor.addEventListener("click", (event) => {
    event.preventDefault();
    const section = document.getElementById(link.target);
    section?.scrollIntoView({
      behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth",
    });
    section?.querySelector("h2")?.focus({ preventScroll: true });
  });
  return anchor;
}

function answer(left, { label, probability }) {
  const middle = BASELINE - 0.13 * TALLEST;
  return el(
    "g",
    {},
    el("text", { class: "diagram-answer", x: left, y: middle, text: label }),
    el("text", { class: "slab-text", x: left, y: middle + 17, text: percent(probability) }),
  );
}

/** @returns {string} */
function croppedUrl(image, crop) {
  const canvas = el("canvas", { width: 160, height: 160 });
  image.drawCrop(canvas.getContext("2d"), crop);
  return canvas.toDataURL("image/png");
}

/** The diagram is drawn again while someone draws; its focused link must stay focused. */
function replaceKeepingFocus(container, svg) {
  const focused = container.contains(document.activeElement)
    ? document.activeElement.getAttribute("href")
    : null;
  container.replaceChildren(svg);
  if (focused)
    container.querySelector(`a[href="${CSS.escape(focused)}"], a[href="${focused}"]`)?.focus();
}
