// Light or dark: as the system prefers, until the button is pressed.

import { byId, el } from "./dom.js";

const KEY = "convscope-theme";
const SUN =
  "M12 4V2m0 20v-2m8-8h2M2 12h2m13.700-5.700 1.400-1.400M4.900 19.100l1.400-1.400m11.400 0 1.400 1.400M4.900 4.900l1.400 1.400M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0Z";
const MOON = "M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500Z";

/** Apply the stored theme, and follow the button. */
export function followTheme() {
  const button = byId("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const stored = read();
  if (stored) document.documentElement.dataset.theme = stored;
  const show = () => {
    const isDark =
      (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
    button.setAttribute("aria-label", isDark ? "Use light colors" : "Use dark colors");
    button.title = button.getAttribute("aria-label");
    button.replaceChildren(
      el(
        "svg",
        {
          viewBox: "0 0 24 24",
          width: 20,
          height: 20,
          "aria-hidden": "true",
          fill: "none",
          stroke: "currentColor",
          "stroke-width": 1.8,
          "stroke-linecap": "round",
          "stroke-linejoin": "round",
        },
        el("path", { d: isDark ? SUN : MOON }),
      ),
    );
    return isDark;
  };
  show();
  dark.addEventListener("change", show);
  button.addEventListener("click", () => {
    const theme = show() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    write(theme);
    show();
  });
}

// A browser that blocks storage throws on each access.
function read() {
  try {
    const theme = localStorage.getItem(KEY);
    return theme === "light" || theme === "dark" ? theme : null;
  } catch {
    return null;
  }
}

/** @param {string} theme */
function write(theme) {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // The choice then lasts until the page is closed.
  }
}
