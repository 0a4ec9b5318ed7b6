// Heat over an image. The colors are those of the pictures of `convscope explain`:
// orange speaks for a class, and blue against it. People with any kind of color blindness can
// distinguish the two (Okabe and Ito 2008). Each goes from weak to strong.

const FOR = [
  [255, 214, 102],
  [250, 140, 30],
  [220, 60, 0],
];
const AGAINST = [
  [150, 215, 255],
  [60, 145, 235],
  [0, 70, 190],
];
// The photo turns gray below the heat, so that its own colors aren't mistaken for it. Neither black
// nor white, because heat isn't visible there.
const DARKEST = 60;
const BRIGHTEST = 225;
const GRAY_FROM_OPACITY = 0.3;

/**
 * @typedef {{values: number[][], method: string, logit: number, remainder: number | null,
 *   share: number | null, limit: number,
 *   class_index: number, label: string, probability: number,
 *   against: {index: number, label: string, probability: number} | null}} Explanation `limit` is the
 *   heat that has the strongest color.
 */

/**
 * Return the color of a heat from -1 to 1, as red, green, blue.
 * @param {number} heat
 */
export function heatColor(heat) {
  const anchors = heat < 0 ? AGAINST : FOR;
  const at = Math.min(Math.abs(heat), 1) * (anchors.length - 1);
  const below = Math.min(Math.floor(at), anchors.length - 2);
  return anchors[below].map(
    (low, channel) => low + (at - below) * (anchors[below + 1][channel] - low),
  );
}

/**
 * Paint heat into a canvas.
 * @param {HTMLCanvasElement} canvas Its size is that of the picture.
 * @param {Explanation} explanation
 * @param {number} opacity The opacity of the strongest heat.
 * @param {((context: CanvasRenderingContext2D) => void) | null} drawBelow Draws what is below the heat;
 *   null leaves the canvas transparent where the heat is zero.
 */
export function paintHeat(canvas, explanation, opacity, drawBelow) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  if (drawBelow) drawBelow(context);
  const pixels = context.getImageData(0, 0, width, height);
  const sample = stretched(explanation.values, width, height);
  const { limit } = explanation;
  const grayness = Math.min(1, opacity / GRAY_FROM_OPACITY);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const heat = limit > 0 ? sample(x, y) / limit : 0;
      const at = 4 * (y * width + x);
      if (drawBelow) blend(pixels.data, at, heat, opacity, grayness);
      else cover(pixels.data, at, heat, opacity);
    }
  }
  context.putImageData(pixels, 0, 0);
}

/** Mix the gray of one pixel with the color of heat. */
function blend(data, at, heat, opacity, grayness) {
  const light = 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
  const gray = DARKEST + (light * (BRIGHTEST - DARKEST)) / 255;
  const strength = opacity * Math.min(Math.abs(heat), 1);
  const color = heatColor(heat);
  for (let channel = 0; channel < 3; channel++) {
    const below = data[at + channel] + grayness * (gray - data[at + channel]);
    data[at + channel] = below + strength * (color[channel] - below);
  }
  data[at + 3] = 255;
}

/** Set one pixel to the color of heat. */
function cover(data, at, heat, opacity) {
  const color = heatColor(heat);
  data[at] = color[0];
  data[at + 1] = color[1];
  data[at + 2] = color[2];
  data[at + 3] = 255 * opacity * Math.min(Math.abs(heat), 1);
}

/**
 * Return a function that returns the value at a pixel, interpolated between the centers of the cells.
 * @param {number[][]} values
 * @param {number} width
 * @param {number} height
 */
function stretched(values, width, height) {
  const columns = places(values[0].length, width);
  const rows = places(values.length, height);
  return (/** @type {number} */ x, /** @type {number} */ y) => {
    const [left, right, across] = columns[x];
    const [top, bottom, down] = rows[y];
    const upper = values[top][left] + across * (values[top][right] - values[top][left]);
    const lower = values[bottom][left] + across * (values[bottom][right] - values[bottom][left]);
    return upper + down * (lower - upper);
  };
}

/** Return for each pixel the two cells whose centers enclose it, and how far it is between them. */
function places(cells, pixels) {
  return Array.from({ length: pixels }, (_, pixel) => {
    const at = Math.min(Math.max(((pixel + 0.5) * cells) / pixels - 0.5, 0), cells - 1);
    const below = Math.min(Math.floor(at), Math.max(cells - 2, 0));
    const part = at - below;
    // Without corners at the centers: straight lines between few cells look like stars.
    return [below, Math.min(below + 1, cells - 1), part * part * (3 - 2 * part)];
  });
}
