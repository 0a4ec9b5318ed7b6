// The server that goes away and comes back: a banner, retries, and a notice when it is back.

import { announce } from "./announce.js";
import { isReady } from "./api.js";
import { byId, el } from "./dom.js";
import { session } from "./state.js";

const FIRST_WAIT_SECONDS = 1;
const LONGEST_WAIT_SECONDS = 15;
const FAILS_AGAIN_MILLISECONDS = 5000;

/** @type {Set<() => void>} */
const waiting = new Set();
let wait = FIRST_WAIT_SECONDS;
let timer = 0;
let checking = false;
let reason = "";
let resumedAt = -Infinity;

/**
 * Show that the server is away, and call a function once it is back.
 * @param {() => void} resume
 * @param {import("./api.js").ApiError} error
 */
export function whenBack(resume, error) {
  waiting.add(resume);
  reason = error.status === 0 ? ". " : `: ${error.message}. `;
  if (timer || checking) return;
  // A server that is ready may still not serve this model, and is then asked less and less often.
  const failedAgain = performance.now() - resumedAt < FAILS_AGAIN_MILLISECONDS;
  wait = failedAgain ? Math.min(2 * wait, LONGEST_WAIT_SECONDS) : FIRST_WAIT_SECONDS;
  countDown(wait);
}

/** @param {number} seconds */
function countDown(seconds) {
  clearTimeout(timer);
  if (seconds <= 0) return void check();
  show(seconds);
  timer = setTimeout(() => countDown(seconds - 1), 1000);
}

async function check() {
  clearTimeout(timer);
  timer = 0;
  if (checking) return;
  checking = true;
  const ready = await isReady();
  checking = false;
  if (ready) return resume();
  wait = Math.min(2 * wait, LONGEST_WAIT_SECONDS);
  countDown(wait);
}

function resume() {
  byId("banner").hidden = true;
  byId("banner").replaceChildren();
  announce("The server is back.");
  resumedAt = performance.now();
  const functions = [...waiting];
  waiting.clear();
  for (const one of functions) one();
}

/** @param {number} seconds */
function show(seconds) {
  const banner = byId("banner");
  if (banner.hidden) {
    banner.replaceChildren(
      el(
        "p",
        {},
        el("strong", { text: "The server is away" }),
        reason,
        session.values.image ? "Your image is kept. " : "",
        "The page continues when the server is back.",
      ),
      el("span", { class: "countdown", "aria-hidden": "true" }),
      el("button", { type: "button", class: "button", text: "Try now", on: { click: check } }),
    );
    banner.hidden = false;
  }
  banner.querySelector(".countdown").textContent = `next try in ${seconds} s`;
}
