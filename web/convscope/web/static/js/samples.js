// Images to start with: a photo, and digits that the page draws itself.

import { byId, el } from "./dom.js";
import { useDrawing } from "./draw.js";
import { PageError } from "./errors.js";
import { useFile } from "./input.js";
import { drawsWell } from "./models.js";
import { choices, session } from "./state.js";
import { renderStrokes } from "./strokes.js";

const PHOTOS = [{ name: "coffee", text: "a cup of coffee", url: "static/samples/coffee.png" }];
// Points of each stroke, from 0 to 1.
const DIGITS = {
  2: [
    [
      [0.32, 0.34],
      [0.38, 0.25],
      [0.5, 0.22],
      [0.62, 0.26],
      [0.66, 0.37],
      [0.6, 0.5],
      [0.46, 0.64],
      [0.33, 0.77],
      [0.5, 0.76],
      [0.7, 0.77],
    ],
  ],
  3: [
    [
      [0.34, 0.28],
      [0.44, 0.22],
      [0.57, 0.23],
      [0.64, 0.32],
      [0.59, 0.43],
      [0.47, 0.48],
      [0.6, 0.52],
      [0.67, 0.63],
      [0.6, 0.75],
      [0.46, 0.79],
      [0.34, 0.73],
    ],
  ],
  5: [
    [
      [0.64, 0.23],
      [0.42, 0.24],
      [0.39, 0.46],
      [0.52, 0.44],
      [0.63, 0.51],
      [0.65, 0.63],
      [0.57, 0.75],
      [0.44, 0.78],
      [0.34, 0.72],
    ],
  ],
  7: [
    [
      [0.33, 0.26],
      [0.5, 0.25],
      [0.67, 0.25],
      [0.58, 0.42],
      [0.5, 0.6],
      [0.45, 0.78],
    ],
  ],
};

/** Show the samples that suit the model, and open the one that the address names. */
export function offerSamples() {
  session.on(["info"], show);
  choices.on(["sample"], openChosen);
  session.on(["info"], openChosen);
}

function show() {
  const { info } = session.values;
  const samples = drawsWell(info) ? Object.keys(DIGITS).map(digitButton) : PHOTOS.map(photoButton);
  byId("samples").replaceChildren(el("p", { text: "or try" }), ...samples);
}

function photoButton({ name, text, url }) {
  return button(name, `Sample: ${text}`, el("img", { src: url, alt: "", width: 96, height: 64 }));
}

function digitButton(digit) {
  const canvas = el("canvas", { width: 64, height: 64, "aria-hidden": "true" });
  renderStrokes(canvas, DIGITS[digit]);
  return button(`digit-${digit}`, `Sample: a drawn ${digit}`, canvas);
}

function button(sample, label, picture) {
  return el(
    "button",
    {
      type: "button",
      class: "sample",
      "aria-label": label,
      on: { click: () => choices.set({ sample }) },
    },
    picture,
  );
}

/** Open the chosen sample, unless it is open. */
async function openChosen() {
  const { sample } = choices.values;
  if (!sample || !session.values.info || session.values.image?.sample === sample) return;
  const photo = PHOTOS.find(({ name }) => name === sample);
  const strokes = DIGITS[sample.replace("digit-", "")];
  if (photo) await openPhoto(photo);
  else if (strokes && sample.startsWith("digit-")) useDrawing(strokes, sample);
  else
    session.set({
      error: new PageError(
        "There is no such sample",
        "The link names a sample image that this page doesn't have. Choose a photo instead.",
      ),
    });
}

async function openPhoto({ name, text, url }) {
  try {
    const reply = await fetch(url);
    if (!reply.ok) throw new Error(String(reply.status));
    await useFile(await reply.blob(), text, name);
    if (session.values.image) session.values.image.sample = name;
  } catch {
    session.set({
      error: new PageError(
        "The sample could not be loaded",
        "Try again, or choose a photo of your own.",
      ),
    });
  }
}
