// The labels of a version, with a search.

import { el } from "./dom.js";
import { counted } from "./numbers.js";

/**
 * Return the list of labels and its search field.
 * @param {string[]} labels
 */
export function showLabels(labels) {
  const list = el("ol", { class: "labels", tabindex: 0, "aria-label": "Labels", role: "list" });
  const count = el("p", { class: "note", role: "status" });
  const search = el("input", {
    type: "search",
    id: "label-search",
    autocomplete: "off",
    on: { input: show },
  });
  function show() {
    const wanted = search.value.trim().toLowerCase();
    const found = labels
      .map((label, index) => ({ label, index }))
      .filter(
        ({ label, index }) => label.toLowerCase().includes(wanted) || String(index) === wanted,
      );
    list.replaceChildren(
      ...found.map(({ label, index }) =>
        el(
          "li",
          {},
          el("span", { class: "label-index", text: String(index) }),
          el("span", { text: label }),
        ),
      ),
    );
    count.textContent = wanted
      ? `${found.length} of ${counted(labels.length, "label")}`
      : counted(labels.length, "label");
    list.hidden = found.length === 0;
  }
  show();
  return el(
    "div",
    {},
    el("label", { class: "field search" }, el("span", { text: "Search the labels" }), search),
    count,
    list,
  );
}
