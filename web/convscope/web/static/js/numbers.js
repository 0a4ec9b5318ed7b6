// Numbers as text.

/**
 * Return a probability as a percentage: "95.1%", "<0.1%".
 * @param {number} probability From 0 to 1.
 */
export function percent(probability) {
  const value = 100 * probability;
  if (value > 0 && value < 0.1) return "<0.1%";
  if (value < 100 && value > 99.9) return ">99.9%";
  return `${value.toFixed(1)}%`;
}

/**
 * Return a number with its sign and about three digits: "+7.91".
 * @param {number} value
 */
export function signed(value) {
  const text = Number(Math.abs(value).toPrecision(3)).toString();
  return `${value < 0 ? "−" : "+"}${text}`;
}

/**
 * Return a whole number with separators: "4,652,008".
 * @param {number} value
 */
export function whole(value) {
  return value.toLocaleString("en");
}

/**
 * Return a noun with its number: "1 channel", "40 channels".
 * @param {number} count
 * @param {string} noun
 * @param {string} [plural]
 */
export function counted(count, noun, plural = `${noun}s`) {
  return `${whole(count)} ${count === 1 ? noun : plural}`;
}

/**
 * Return a size in bytes as text: "16 MiB".
 * @param {number} bytes
 */
export function size(bytes) {
  const mebibytes = bytes / 2 ** 20;
  return mebibytes >= 1 ? `${Number(mebibytes.toFixed(1))} MiB` : `${Math.ceil(bytes / 1024)} KiB`;
}
