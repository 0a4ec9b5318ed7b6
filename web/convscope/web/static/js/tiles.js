// The pictures of the channels of a level.

import { showChannel } from "./channel_dialog.js";
import { el } from "./dom.js";
import { pngUrl } from "./levels.js";

/**
 * Show the channels of a level. Existing tiles are kept, so that the focus stays and pictures change
 * in place.
 * @param {HTMLElement} list
 * @param {import("./levels.js").Level[]} levels All levels, as they are shown.
 * @param {number} place That of this level.
 */
export function showTiles(list, levels, place) {
  const { name, channels } = levels[place];
  const tiles = channels.map((channel, at) => {
    const item = list.children[at] ?? newTile();
    const button = item.firstElementChild;
    button.setAttribute("aria-label", `Channel ${channel.index} of ${name}, enlarge`);
    button.onclick = () => showChannel(levels, place, at);
    button.firstElementChild.src = pngUrl(channel);
    return item;
  });
  const isSame = tiles.length === list.children.length && tiles.every((tile) => tile.isConnected);
  if (!isSame) list.replaceChildren(...tiles);
}

/** @returns {any} */
function newTile() {
  const picture = el("img", { alt: "", class: "map" });
  return el("li", {}, el("button", { type: "button", class: "tile" }, picture));
}
