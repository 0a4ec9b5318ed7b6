// Strokes of a pen, and how they are drawn: white on black, as in MNIST.

/**
 * @typedef {[number, number][]} Stroke Points from 0 to 1.
 * @typedef {{x: number, y: number, side: number}} Region A square of the drawing, in parts of its side.
 */

const PEN = 0.075;
const WHOLE = { x: 0, y: 0, side: 1 };
// MNIST fits digits into a box of 20 pixels, and centers their mass in 28.
const BOX = 20 / 28;
const SMALLEST_SIDE = 0.35;
const STEP = 0.01;

/**
 * Draw strokes so that a region fills a canvas.
 * @param {HTMLCanvasElement} canvas
 * @param {Stroke[]} strokes
 * @param {Region} [region]
 */
export function renderStrokes(canvas, strokes, region = WHOLE) {
  const context = canvas.getContext("2d");
  const scale = canvas.width / region.side;
  context.fillStyle = "black";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.strokeStyle = "white";
  context.lineCap = context.lineJoin = "round";
  // The pen is as thick in each picture, however large the digit was drawn.
  context.lineWidth = PEN * canvas.width;
  for (const stroke of strokes) {
    context.beginPath();
    const points = stroke.map(([x, y]) => [(x - region.x) * scale, (y - region.y) * scale]);
    context.moveTo(points[0][0], points[0][1]);
    for (let i = 1; i < points.length - 1; i++) {
      const middle = [(points[i][0] + points[i + 1][0]) / 2, (points[i][1] + points[i + 1][1]) / 2];
      context.quadraticCurveTo(points[i][0], points[i][1], middle[0], middle[1]);
    }
    const last = points[points.length - 1];
    context.lineTo(last[0], last[1]);
    context.stroke();
  }
}

/**
 * Return the region that shows the strokes as MNIST shows digits.
 * @param {Stroke[]} strokes
 * @returns {Region}
 */
export function centeredRegion(strokes) {
  const points = strokes.flatMap(densified);
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const extent = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys));
  const side = Math.max((extent + PEN) / BOX, SMALLEST_SIDE);
  const mean = (/** @type {number[]} */ values) =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  return { x: mean(xs) - side / 2, y: mean(ys) - side / 2, side };
}

/** Return points along a stroke at even distances, so that their mean is the center of mass. */
function densified(stroke) {
  const points = [stroke[0]];
  for (let i = 1; i < stroke.length; i++) {
    const [from, to] = [stroke[i - 1], stroke[i]];
    const steps = Math.max(1, Math.round(Math.hypot(to[0] - from[0], to[1] - from[1]) / STEP));
    for (let step = 1; step <= steps; step++) {
      points.push([
        from[0] + ((to[0] - from[0]) * step) / steps,
        from[1] + ((to[1] - from[1]) * step) / steps,
      ]);
    }
  }
  return points;
}
