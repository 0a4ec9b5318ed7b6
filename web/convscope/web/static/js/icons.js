// The pictures on buttons.

import { el } from "./dom.js";

const PATHS = {
  file: "M4 16v3a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1v-3M12 4v11m0-11L7.500 8.500M12 4l4.500 4.500",
  camera:
    "M4 8h3l1.500-2.500h7L17 8h3a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V9a1 1 0 0 1 1-1Zm8 9a4 4 0 1 0 0-8 4 4 0 0 0 0 8Z",
  draw: "m4 20 1-4L16.500 4.500a2 2 0 0 1 3 3L8 19l-4 1Zm11-14 3 3",
  close: "M6 6l12 12M18 6 6 18",
  previous: "m15 5-7 7 7 7",
  next: "m9 5 7 7-7 7",
};

/**
 * Return a picture.
 * @param {keyof typeof PATHS} name
 */
export function icon(name) {
  return el(
    "svg",
    {
      viewBox: "0 0 24 24",
      width: 20,
      height: 20,
      "aria-hidden": "true",
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 1.8,
      "stroke-linecap": "round",
      "stroke-linejoin": "round",
    },
    el("path", { d: PATHS[name] }),
  );
}
