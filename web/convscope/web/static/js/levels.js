// The levels of a network: its feature maps of one image.

/**
 * @typedef {{index: number, strength: number, low: number, high: number, png: string}} Channel
 * @typedef {{name: string, channels: Channel[], info: import("./api.js").FeatureMapEntry, result: any}} Level
 *   A feature map of one image, with what the model states about it.
 */

/**
 * Return the levels of a result.
 * @param {any} result
 * @param {any} info The description of the model.
 * @returns {Level[]}
 */
export function levelsOf(result, info) {
  const byName = new Map(info.feature_maps.map((/** @type {any} */ map) => [map.name, map]));
  return result.results[0].feature_maps
    .filter((/** @type {any} */ { name }) => byName.has(name))
    .map((/** @type {any} */ { name, channels }) => ({
      name,
      channels,
      info: byName.get(name),
      result,
    }));
}

/**
 * Return the URL of the picture of a channel.
 * @param {{png: string}} channel
 */
export function pngUrl({ png }) {
  return `data:image/png;base64,${png}`;
}
