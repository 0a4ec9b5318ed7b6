// Sentences for screen readers.

import { byId } from "./dom.js";

/**
 * Have a sentence read when the reader is idle.
 * @param {string} sentence
 */
export function announce(sentence) {
  byId("announcer").textContent = sentence;
}
