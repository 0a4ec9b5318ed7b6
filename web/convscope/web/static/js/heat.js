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
const NEUTRAL = 127; // the level of no heat
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
 * @param {((context: CanvasRenderingContext2D) => void) | null} drawBelow Draws what is below;
 *   null leaves the canvas transparent where the heat is zero.
 */
export function paintHeat(canvas, explanation, opacity, drawBelow) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  if (drawBelow) drawBelow(context);
  const pixels = context.getImageData(0, 0, width, height);
  const levels = heatLevels(explanation, width, height);
  if (drawBelow) blend(pixels.data, levels, opacity);
  else cover(pixels.data, levels, opacity);
  context.putImageData(pixels, 0, 0);
}

/** Mix the gray of each pixel with the color of its heat. */
function blend(data, levels, opacity) {
  const grayness = Math.min(1, opacity / GRAY_FROM_OPACITY);
  for (let pixel = 0, at = 0; pixel < levels.length; pixel++, at += 4) {
    const level = levels[pixel];
    const strength = (opacity * Math.abs(level - NEUTRAL)) / NEUTRAL;
    const light = 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
    const gray = DARKEST + (light * (BRIGHTEST - DARKEST)) / 255;
    for (let channel = 0; channel < 3; channel++) {
      const below = data[at + channel] + grayness * (gray - data[at + channel]);
      data[at + channel] = below + strength * (COLORS[3 * level + channel] - below);
    }
    data[at + 3] = 255;
  }
}

/** Set each pixel to the color of its heat. */
function cover(data, levels, opacity) {
  for (let pixel = 0, at = 0; pixel < levels.length; pixel++, at += 4) {
    const level = levels[pixel];
    for (let channel = 0; channel < 3; channel++) {
      data[at + channel] = COLORS[3 * level + channel];
    }
    data[at + 3] = (255 * opacity * Math.abs(level - NEUTRAL)) / NEUTRAL;
  }
}

/**
 * Return the heat of each pixel as a level: 0 is the strongest against, 254 the strongest for.
 * Between the centers of the cells it is interpolated.
 * @param {Explanation} explanation
 * @param {number} width
 * @param {number} height
 */
function heatLevels({ values, limit }, width, height) {
  const levels = new Uint8ClampedArray(width * height).fill(NEUTRAL);
  if (limit <= 0) return levels;
  const columns = places(values[0].length, width);
  const rows = places(values.length, height);
  for (let y = 0, at = 0; y < height; y++) {
    const [top, bottom, down] = rows[y];
    const [upper, lower] = [values[top], values[bottom]];
    for (let x = 0; x < width; x++, at++) {
      const [left, right, across] = columns[x];
      const above = upper[left] + across * (upper[right] - upper[left]);
      const below = lower[left] + across * (lower[right] - lower[left]);
      const heat = (above + down * (below - above)) / limit;
      levels[at] = NEUTRAL + NEUTRAL * Math.min(1, Math.max(-1, heat));
    }
  }
  return levels;
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

/** The color of each level, [255, 3]. */
const COLORS = Uint8ClampedArray.from(
  Array.from({ length: 2 * NEUTRAL + 1 }, (_, level) =>
    heatColor((level - NEUTRAL) / NEUTRAL),
  ).flat(),
);
