// A canvas to draw a digit on. Each change becomes the image, so that it is answered while drawing.

import { byId, el } from "./dom.js";
import { Picture, release } from "./image.js";
import { choices, session } from "./state.js";
import { centeredRegion, renderStrokes } from "./strokes.js";

/** @typedef {import("./strokes.js").Region} Region */

const SIDE = 560;
const SENT_SIDE = 224;
const HELP =
  "Draw with the mouse. With the keyboard: arrow keys move the pen, space puts it down or lifts " +
  "it, backspace undoes.";
const KEY_STEP = 0.04;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @type {import("./strokes.js").Stroke[]} */
let strokes = [];
/** @type {import("./strokes.js").Stroke | null} */
let current = null;
/** The pen of the keyboard. */
let pen = { x: 0.5, y: 0.5, down: false, shown: false };
let sending = false;
let again = false;

export const canvas = el("canvas", {
  id: "drawing",
  class: "drawing",
  width: SIDE,
  height: SIDE,
  tabindex: 0,
  role: "application",
  "aria-label": "Drawing area",
  "aria-describedby": "drawing-help",
});

const undoButton = el("button", {
  type: "button",
  class: "button",
  text: "Undo",
  on: { click: undo },
});
const clearButton = el("button", {
  type: "button",
  class: "button",
  text: "Clear",
  on: { click: () => replace([]) },
});

/** Make the canvas react to pointers and keys, and show the buttons. */
export function offerDrawing() {
  canvas.addEventListener("pointerdown", start);
  canvas.addEventListener("pointermove", follow);
  for (const event of ["pointerup", "pointercancel"]) canvas.addEventListener(event, finish);
  canvas.addEventListener("keydown", key);
  canvas.addEventListener("blur", () => redraw({ ...pen, shown: false }));
  byId("drawing-tools").append(
    undoButton,
    clearButton,
    el("p", {
      id: "drawing-help",
      class: "note with-mouse",
      text: HELP,
    }),
  );
  choices.on(["drawing"], open);
  redraw();
}

/**
 * Show strokes as the drawing.
 * @param {import("./strokes.js").Stroke[]} given
 * @param {string} sample The name of the sample that they are.
 */
export function useDrawing(given, sample) {
  strokes = given.map((stroke) => [...stroke]);
  choices.set({ drawing: true, sample });
  redraw();
  send(sample);
}

/** Report whether a stroke is being drawn. */
export function isDrawing() {
  return current !== null;
}

function open() {
  if (!choices.values.drawing) return;
  if (session.values.image && !session.values.image.region)
    session.set({ image: null, result: null });
  if (choices.values.sample) return;
  if (strokes.length && !session.values.image) changed();
  canvas.focus({ preventScroll: true });
}

/** @param {PointerEvent} event */
function start(event) {
  if (event.button !== 0) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  current = [point(event)];
  strokes.push(current);
  changed();
}

/** @param {PointerEvent} event */
function follow(event) {
  if (!current) return;
  const events = event.getCoalescedEvents?.() ?? [];
  current.push(...(events.length ? events : [event]).map(point));
  changed();
}

function finish() {
  if (!current) return;
  current = null;
  changed();
}

/** @param {PointerEvent} event @returns {[number, number]} */
function point(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

/** @param {KeyboardEvent} event */
function key(event) {
  const arrow = ARROWS[event.key];
  if (event.key === "Backspace") undo();
  else if (event.key === " ") lift(!pen.down);
  else if (arrow) move(arrow);
  else return;
  event.preventDefault();
}

/** @param {boolean} down */
function lift(down) {
  pen = { ...pen, down, shown: true };
  if (down) strokes.push([[pen.x, pen.y]]);
  changed();
}

/** @param {number[]} arrow */
function move([across, downwards]) {
  const inside = (/** @type {number} */ value) => Math.min(1, Math.max(0, value));
  pen = {
    ...pen,
    x: inside(pen.x + across * KEY_STEP),
    y: inside(pen.y + downwards * KEY_STEP),
    shown: true,
  };
  if (!pen.down) return redraw();
  strokes[strokes.length - 1].push([pen.x, pen.y]);
  changed();
}

function undo() {
  replace(strokes.slice(0, -1));
}

/** @param {import("./strokes.js").Stroke[]} next */
function replace(next) {
  strokes = next;
  pen = { ...pen, down: false };
  changed();
}

function changed() {
  if (choices.values.sample) choices.set({ sample: "" });
  redraw();
  send();
}

function redraw(next = pen) {
  pen = next;
  renderStrokes(canvas, strokes);
  undoButton.disabled = clearButton.disabled = strokes.length === 0;
  canvas.parentElement?.classList.toggle("empty", strokes.length === 0);
  if (!pen.shown) return;
  const context = canvas.getContext("2d");
  context.strokeStyle = pen.down ? "#4fd1c5" : "#9aa0a6";
  context.lineWidth = 4;
  context.beginPath();
  context.arc(pen.x * SIDE, pen.y * SIDE, 16, 0, 2 * Math.PI);
  context.stroke();
}

/** Make the drawing the image; while one is encoded, the next waits and only the last is kept. */
async function send(sample = "") {
  if (strokes.length === 0) {
    session.set({ image: null, result: null, error: null });
    return;
  }
  if (sending) {
    again = true;
    return;
  }
  sending = true;
  const region = centeredRegion(strokes);
  const sent = el("canvas", { width: SENT_SIDE, height: SENT_SIDE });
  renderStrokes(sent, strokes, region);
  const blob = await new Promise((resolve) => sent.toBlob(resolve, "image/png"));
  sending = false;
  if (choices.values.drawing && strokes.length) {
    const picture = new Picture(blob, sent, {
      name: "drawing",
      url: URL.createObjectURL(blob),
      region,
      description: "The drawing",
    });
    picture.sample = sample;
    const { image: before } = session.values;
    session.set({ image: picture, error: null });
    release(before);
  }
  if (again) {
    again = false;
    send();
  }
}
