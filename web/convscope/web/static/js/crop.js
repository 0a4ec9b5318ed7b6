// The part of an image that the network saw.

/**
 * @typedef {{x: number, y: number, width: number, height: number, photo_width: number,
 *   photo_height: number}} Crop A rectangle of the upright photo, and the photo's size, in pixels.
 */

/**
 * Return the whole image as a crop.
 * @param {{width: number, height: number}} image
 * @returns {Crop}
 */
export function wholeImage({ width, height }) {
  return { x: 0, y: 0, width, height, photo_width: width, photo_height: height };
}
