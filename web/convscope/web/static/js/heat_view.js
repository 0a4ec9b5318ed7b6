// A photo with heat at its true location: the part of the photo that the network saw.

import { el } from "./dom.js";
import { paintHeat } from "./heat.js";

/**
 * @typedef {{x: number, y: number, width: number, height: number, photo_width: number,
 *   photo_height: number}} Crop A rectangle of the upright photo, and the photo's size, in pixels:
 *   the part that the network saw.
 */

const LONGEST_EDGE = 448;
const DIMMED = 0.6;

export class HeatView {
  constructor() {
    this.photo = el("img", { class: "photo", alt: "" });
    this.heat = el("canvas", { class: "heat", "aria-hidden": "true" });
    this.frame = el("div", { class: "heat-frame" }, this.photo, this.heat);
    this.heat.hidden = true;
  }

  /**
   * Show an image, at first without heat.
   * @param {import("./image.js").Picture} image
   */
  showImage(image) {
    this.photo.src = image.url;
    this.photo.alt = image.description;
    this.frame.style.setProperty("aspect-ratio", `${image.width} / ${image.height}`);
    this.frame.classList.toggle("pixelated", Math.max(image.width, image.height) <= 64);
    this.heat.hidden = true;
  }

  /**
   * Show heat over the image.
   * @param {import("./image.js").Picture} image
   * @param {import("./heat.js").Explanation | undefined} explanation
   * @param {Crop | null} crop
   * @param {number} opacity
   */
  showHeat(image, explanation, crop, opacity) {
    this.heat.hidden = !explanation || !crop || opacity === 0;
    if (this.heat.hidden) return;
    place(this.heat, crop);
    fit(this.heat, crop);
    this.heat.style.setProperty("--dimmed", String(DIMMED * Math.min(1, opacity / 0.3)));
    paintHeat(this.heat, explanation, opacity, (context) => image.drawCrop(context, crop));
  }
}

/**
 * Put a canvas over a rectangle of the element that contains it.
 * @param {HTMLCanvasElement} canvas
 * @param {Crop} crop
 */
export function place(canvas, crop) {
  const style = canvas.style;
  style.setProperty("left", `${(100 * crop.x) / crop.photo_width}%`);
  style.setProperty("top", `${(100 * crop.y) / crop.photo_height}%`);
  style.setProperty("width", `${(100 * crop.width) / crop.photo_width}%`);
  style.setProperty("height", `${(100 * crop.height) / crop.photo_height}%`);
}

/**
 * Set the size of a canvas to the proportions of a rectangle.
 * @param {HTMLCanvasElement} canvas
 * @param {{width: number, height: number}} crop
 */
export function fit(canvas, crop) {
  const scale = LONGEST_EDGE / Math.max(crop.width, crop.height);
  canvas.width = Math.max(1, Math.round(crop.width * scale));
  canvas.height = Math.max(1, Math.round(crop.height * scale));
}
