// The choices in the address bar, so that a link shows what its sender saw.

import { choices, session, TABS } from "./state.js";

const NAMES = {
  model: "model",
  version: "version",
  tab: "tab",
  sample: "sample",
  target: "class",
  against: "against",
  method: "method",
  layers: "layers",
  otherModel: "compare",
  otherVersion: "compare_version",
  opacity: "opacity",
};
const DEFAULTS = { ...choices.values };
// A change of these is a step that the browser's "back" undoes.
const STEPS = ["model", "version", "tab", "sample"];

/**
 * Return the choices that an address states; the others have their defaults.
 * @param {string} query
 * @returns {any}
 */
function readAddress(query) {
  const parameters = new URLSearchParams(query);
  const read = { ...DEFAULTS };
  for (const [name, parameter] of Object.entries(NAMES)) {
    const text = parameters.get(parameter);
    if (text === null) continue;
    if (name === "target" || name === "against") read[name] = index(text);
    else if (name === "opacity") read[name] = fraction(text);
    else read[name] = text;
  }
  if (read.layers !== "all") read.layers = DEFAULTS.layers;
  if (!TABS.includes(read.tab)) read.tab = DEFAULTS.tab;
  return read;
}

/** Return the address of the present choices. */
function writeAddress() {
  const parameters = new URLSearchParams();
  for (const [name, parameter] of Object.entries(NAMES)) {
    const value = choices.values[name];
    if (value !== DEFAULTS[name] && value !== null) parameters.set(parameter, String(value));
  }
  const query = parameters.toString();
  return query ? `?${query}` : location.pathname;
}

/** Keep the address bar up to date, and follow the browser's "back" and "forward". */
export function followAddress() {
  choices.set(readAddress(location.search));
  let step = stepOf();
  choices.on(Object.keys(NAMES), () => {
    const address = writeAddress();
    if (step === stepOf()) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    step = stepOf();
  });
  addEventListener("popstate", () => {
    const read = readAddress(location.search);
    step = stepOf(read);
    const leavesSample = !read.sample && session.values.image?.sample;
    if (leavesSample) session.set({ image: null, result: null });
    choices.set({ ...read, drawing: choices.values.drawing && !leavesSample });
  });
}

function stepOf(values = choices.values) {
  return STEPS.map((name) => values[name]).join("\n");
}

/** @param {string} text */
function index(text) {
  return /^\d{1,6}$/.test(text) ? Number(text) : null;
}

/** @param {string} text */
function fraction(text) {
  const value = Number(text);
  return value >= 0 && value <= 1 ? value : DEFAULTS.opacity;
}
