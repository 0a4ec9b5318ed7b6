// The tabs: one of them is shown, and the arrow keys move between them.

import { byId, el } from "./dom.js";
import { choices, TABS } from "./state.js";

const NAMES = { classes: "Classes", layers: "Layers", compare: "Compare", details: "Model" };

/** Show the tabs, and the panel of the chosen one. */
export function showTabs() {
  const list = byId("tabs");
  for (const tab of TABS) {
    list.append(
      el("button", {
        type: "button",
        role: "tab",
        id: `tab-${tab}`,
        "aria-controls": `panel-${tab}`,
        text: NAMES[tab],
        on: { click: () => choices.set({ tab }) },
      }),
    );
  }
  list.addEventListener("keydown", (event) => move(event));
  choices.on(["tab"], update);
  update();
}

function update() {
  for (const tab of TABS) {
    const chosen = tab === choices.values.tab;
    const button = byId(`tab-${tab}`);
    button.setAttribute("aria-selected", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
    byId(`panel-${tab}`).hidden = !chosen;
  }
  byId("workspace").dataset.tab = choices.values.tab;
}

/** @param {KeyboardEvent} event */
function move(event) {
  const at = TABS.indexOf(choices.values.tab);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: TABS.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const tab = TABS[(to + TABS.length) % TABS.length];
  choices.set({ tab });
  byId(`tab-${tab}`).focus();
}
