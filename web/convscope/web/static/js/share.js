// The button that copies the address of what is shown.

import { announce } from "./announce.js";
import { byId } from "./dom.js";
import { choices, session } from "./state.js";

const SHOWN_MILLISECONDS = 2500;

/** Make the button work. */
export function offerLink() {
  const button = byId("share");
  button.addEventListener("click", async () => {
    const copied = await copy();
    const own = session.values.image && !choices.values.sample;
    announce(
      copied
        ? `Link copied.${own ? " It contains the choices, and not your image." : ""}`
        : "Copy the address of the page.",
    );
    button.textContent = copied
      ? own
        ? "Copied, without the image"
        : "Copied"
      : "Copy the address above";
    setTimeout(() => (button.textContent = "Copy link"), SHOWN_MILLISECONDS);
  });
}

/** Return whether the browser allowed it; it doesn't over plain HTTP from another computer. */
async function copy() {
  try {
    await navigator.clipboard.writeText(location.href);
    return true;
  } catch {
    return false;
  }
}
