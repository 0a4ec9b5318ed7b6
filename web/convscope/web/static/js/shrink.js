// Photos above the server's limits are made smaller before they are sent, and those in formats that
// only the browser reads are sent as JPEG.

import { Picture, openImage, release } from "./image.js";

// The server's defaults: JPEG decodes to scale, the other formats in full.
const JPEG_PIXELS = 50e6;
const OTHER_PIXELS = 16e6;
const IMAGE_BYTES = 8 * 2 ** 20;
// An empty type is unknown to the browser; the server looks at the content.
const FORMATS = ["", "image/jpeg", "image/png", "image/webp", "image/bmp", "image/gif"];
const QUALITY = 0.92;
const TIMES_THE_INPUT = 4;
const SHARP_ON_SCREEN = 1024;
const LONGEST_EDGE = 4096;

/**
 * Return the picture, or a copy that the server accepts.
 * @param {Picture} picture
 * @param {any} info The model's description.
 * @returns {Promise<Picture>}
 */
export async function withinLimits(picture, info) {
  const bytes = Math.min(
    info?.limits.max_image_bytes ?? IMAGE_BYTES,
    info?.limits.max_body_bytes ?? IMAGE_BYTES,
  );
  const pixels = picture.blob.type === "image/jpeg" ? JPEG_PIXELS : OTHER_PIXELS;
  const fits = picture.blob.size <= bytes && picture.width * picture.height <= pixels;
  if (fits && FORMATS.includes(picture.blob.type)) return picture;
  const scale = fits ? 1 : scaleFor(picture, info, pixels);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture.drawable, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  release(picture);
  if (fits) return openImage(blob, picture.name);
  const note =
    `The original, ${picture.width} × ${picture.height} pixels, is above the server's limit, so the ` +
    "page made it smaller.";
  return openImage(blob, picture.name, note);
}

/** Return the factor by which a picture shrinks; the model still gets the detail that it needs. */
function scaleFor(picture, info, pixels) {
  const input = Math.max(info?.input.height ?? 0, info?.input.width ?? 0);
  const needed = Math.max(SHARP_ON_SCREEN, TIMES_THE_INPUT * input);
  const shorter = Math.min(picture.width, picture.height);
  const longer = Math.max(picture.width, picture.height);
  const allowed = Math.sqrt(pixels / (picture.width * picture.height));
  return Math.min(1, allowed, LONGEST_EDGE / longer, needed / shorter);
}
