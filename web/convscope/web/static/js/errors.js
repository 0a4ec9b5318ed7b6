// Errors in plain words: what happened, and what to do.

import { ApiError } from "./api.js";
import { el } from "./dom.js";

/** An error with a title and an advice, found by the page itself. */
export class PageError extends Error {
  /** @param {string} title @param {string} advice */
  constructor(title, advice) {
    super(title);
    this.title = title;
    this.advice = advice;
  }
}

const ADVICE = {
  INVALID_ARGUMENT: ["The server can't use this", "Choose another image, or other options."],
  NOT_FOUND: ["The server doesn't have this", "Choose another model or version above."],
  RESOURCE_EXHAUSTED: ["The server is busy", "The page tries again in a moment."],
  DEADLINE_EXCEEDED: [
    "The answer took too long",
    "Try again. If it happens often, the server is overloaded.",
  ],
  UNAVAILABLE: ["The server is away", "The page tries again by itself."],
  FAILED_PRECONDITION: ["The server can't serve this version", "Choose another version above."],
  UNAUTHENTICATED: [
    "The server asks for credentials",
    "Give a token above. The operator of the server issues tokens.",
  ],
  PERMISSION_DENIED: [
    "This is not allowed",
    "The credentials that the server received don't allow it.",
  ],
};
const TOO_LARGE = ["The image is too large", "Choose a smaller image."];
const UNKNOWN = ["Something went wrong", "Try again. The log of the server explains it."];

/**
 * Return an error as title, message and advice.
 * @param {unknown} error
 */
export function describe(error) {
  if (error instanceof PageError) return { title: error.title, message: "", advice: error.advice };
  if (!(error instanceof ApiError))
    return { title: UNKNOWN[0], message: String(error), advice: UNKNOWN[1] };
  const [title, advice] = error.status === 413 ? TOO_LARGE : (ADVICE[error.code] ?? UNKNOWN);
  return { title, message: error.message, advice };
}

/**
 * Show an error in a container, or nothing.
 * @param {HTMLElement} container
 * @param {unknown} error
 * @param {(() => void) | null} [retry] What the button "Try again" does.
 */
export function showError(container, error, retry = null) {
  if (!error) return container.replaceChildren();
  const { title, message, advice } = describe(error);
  container.replaceChildren(
    el(
      "div",
      { class: "error", role: "alert" },
      el("p", { class: "error-title", text: message ? `${title}:` : title }),
      message ? el("p", { text: message }) : null,
      el("p", { class: "error-advice", text: advice }),
      retry
        ? el("button", { type: "button", class: "button", text: "Try again", on: { click: retry } })
        : null,
    ),
  );
}
