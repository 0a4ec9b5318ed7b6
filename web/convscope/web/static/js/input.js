// Where images come from: a file, the clipboard, a drop, the camera, a drawing, a sample.

import { takePhoto } from "./camera.js";
import { byId, el } from "./dom.js";
import { PageError } from "./errors.js";
import { icon } from "./icons.js";
import { openImage, release } from "./image.js";
import { drawsWell } from "./models.js";
import { withinLimits } from "./shrink.js";
import { choices, session } from "./state.js";

const UNREADABLE = new PageError(
  "This file can't be read as an image",
  "Choose a JPEG, PNG, WebP, BMP or GIF file.",
);

const PHOTO =
  "Give it a photo. The network names what is in it, marks the places that speak for its answer, " +
  "and opens its layers, from the first edges to whole objects.";
const DRAW =
  "Draw a digit. The network answers while you draw, marks the strokes that speak for its answer, " +
  "and opens its layers, from the first edges to whole shapes.";

/** Offer all ways to get an image. */
export function offerInputs() {
  byId("welcome-actions").append(...buttons());
  byId("image-actions").append(...buttons());
  document.addEventListener("paste", paste);
  followDrops();
  choices.on(["model", "version"], showDrawing);
  session.on(["info"], showDrawing);
  choices.on(["drawing"], showDrawing);
  showDrawing();
}

/**
 * Use a file as the image.
 * @param {Blob} blob
 * @param {string} name
 * @param {string} [sample] The name of the sample that it is.
 */
export async function useFile(blob, name, sample = "") {
  let picture;
  try {
    picture = await withinLimits(await openImage(blob, name), session.values.info);
  } catch {
    session.set({ error: UNREADABLE });
    return;
  }
  choices.set({ drawing: false, sample });
  const { image: before } = session.values;
  session.set({ image: picture, result: null, error: null });
  release(before);
}

function buttons() {
  const input = el("input", {
    type: "file",
    accept: "image/*",
    class: "visually-hidden",
    tabindex: -1,
    "aria-hidden": "true",
    on: { change: () => useFirst(input) },
  });
  const camera = el("input", {
    type: "file",
    accept: "image/*",
    capture: "environment",
    class: "visually-hidden",
    tabindex: -1,
    "aria-hidden": "true",
    on: { change: () => useFirst(camera) },
  });
  return [
    button("file", "Choose a photo", () => input.click()),
    button("camera", "Take a photo", () => photograph(camera)),
    button("draw", "Draw a digit", () => choices.set({ drawing: true, sample: "" }), "draw-button"),
    input,
    camera,
  ];
}

/** @param {any} name @param {string} text @param {() => void} click */
function button(name, text, click, extra = "") {
  return el(
    "button",
    { type: "button", class: `button ${extra}`, on: { click } },
    icon(name),
    el("span", { text }),
  );
}

/** @param {HTMLInputElement} input */
function useFirst(input) {
  const file = input.files?.[0];
  if (file) useFile(file, file.name);
  input.value = ""; // so that the same file can be chosen again
}

/** Phones have a camera application; elsewhere the page shows the camera itself. */
async function photograph(input) {
  if (matchMedia("(pointer: coarse)").matches || !navigator.mediaDevices) input.click();
  else {
    const photo = await takePhoto();
    if (photo) useFile(photo, "photo from the camera");
  }
}

/** @param {ClipboardEvent} event */
function paste(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length === 0) return;
  event.preventDefault();
  useFile(files[0], files[0].name || "pasted image");
}

function followDrops() {
  const veil = byId("drop-veil");
  let depth = 0; // "dragleave" is also sent for each inner element that is left
  const show = (/** @type {number} */ change) => {
    depth = Math.max(0, depth + change);
    veil.hidden = depth === 0;
  };
  addEventListener("dragenter", (event) => {
    if (event.dataTransfer?.types.includes("Files")) show(1);
  });
  addEventListener("dragleave", () => show(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    show(-Infinity);
    const file = event.dataTransfer?.files[0];
    if (file) useFile(file, file.name);
  });
}

/** Offer drawing for models of small gray images only. */
function showDrawing() {
  const { info } = session.values;
  for (const node of /** @type {NodeListOf<HTMLElement>} */ (
    document.querySelectorAll(".draw-button")
  )) {
    node.hidden = !drawsWell(info) || choices.values.drawing;
    node.classList.toggle("primary", drawsWell(info));
  }
  byId("welcome-text").textContent = drawsWell(info) ? DRAW : PHOTO;
  byId("welcome-actions").firstElementChild.classList.toggle("primary", !drawsWell(info));
}
