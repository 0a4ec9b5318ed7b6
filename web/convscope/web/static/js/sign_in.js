// The field for a token, shown when the server asks for one.

import { announce } from "./announce.js";
import { useToken } from "./api.js";
import { byId, el } from "./dom.js";
import { session } from "./state.js";

const TOKEN = /^[\w.~+/-]+=*$/;
const NO_TOKEN = "A token has letters, digits and ._~+/-= only.";

/** @type {Set<() => void>} */
const waiting = new Set();
let hasTried = false;

/**
 * Ask the user for a token, and call a function once there is one.
 * @param {() => void} resume
 * @param {string} reason What the server says.
 */
export function askForToken(resume, reason) {
  waiting.add(resume);
  session.set({ error: null, otherError: null });
  // At first, that there is no token is no error.
  show(hasTried ? reason : "");
}

/** @param {string} reason */
function show(reason) {
  const form = byId("sign-in");
  if (form.hidden) {
    form.replaceChildren(
      el("strong", { text: "This server asks for a token" }),
      el("label", {}, el("span", { text: "Token " }), field()),
      el("button", { class: "button", text: "Sign in" }),
      el("p", { class: "sign-in-reason", role: "alert" }),
    );
    form.onsubmit = submit;
    form.hidden = false;
    announce("This server asks for a token.");
  }
  form.querySelector(".sign-in-reason").textContent = reason;
  form.querySelector("input").focus();
}

function field() {
  return el("input", {
    type: "password",
    name: "token",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
  });
}

/** @param {SubmitEvent} event */
function submit(event) {
  event.preventDefault();
  const form = byId("sign-in");
  const value = form.querySelector("input").value.trim();
  if (!TOKEN.test(value)) return show(NO_TOKEN);
  useToken(value);
  hasTried = true;
  form.hidden = true;
  form.replaceChildren();
  const functions = [...waiting];
  waiting.clear();
  for (const one of functions) one();
}
