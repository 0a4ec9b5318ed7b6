// What a failed request leads to: waiting for the server, a sign-in, asking again, or a message.

import { ApiError } from "./api.js";
import { whenBack } from "./connection.js";
import { askForToken } from "./sign_in.js";
import { session } from "./state.js";

/**
 * Show an error. A server that is away is asked again when it is back, and a busy one when it says.
 * @param {unknown} error
 * @param {() => void} resume Asks again.
 * @param {"error" | "otherError"} [place] Where the error is shown.
 */
export function fail(error, resume, place = "error") {
  if (isAbort(error)) return;
  if (error instanceof ApiError && error.away) return whenBack(resume, error);
  if (error instanceof ApiError && error.status === 401) return askForToken(resume, error.message);
  session.set({ [place]: error });
  if (error instanceof ApiError && error.retryAfter !== null) {
    setTimeout(resume, 1000 * error.retryAfter);
  }
}

/** @param {unknown} error */
function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}
