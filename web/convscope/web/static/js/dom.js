// Elements, built without markup in strings: text from the server is never parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set([
  "svg",
  "g",
  "path",
  "polygon",
  "rect",
  "image",
  "line",
  "text",
  "title",
  "a:svg",
]);

/**
 * Return a new element.
 * @param {string} tag Its name; "svg", "path", … are created as SVG.
 * @param {Record<string, unknown>} [properties] `text`, `class`, `style` (an object), `on` (an object
 *   of listeners), or attributes; false and null omit an attribute, and true sets it empty.
 * @param {...(Node | string | null)} children Its content.
 * @returns {any}
 */
export function el(tag, properties = {}, ...children) {
  const svg = SVG_TAGS.has(tag);
  const node = svg
    ? document.createElementNS(SVG, tag.replace(":svg", ""))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) set(node, name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** @param {any} node @param {string} name @param {any} value */
function set(node, name, value) {
  if (value === false || value === null || value === undefined) return;
  if (name === "text") node.textContent = value;
  else if (name === "on") {
    for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
  } else if (name === "style") {
    for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
  } else node.setAttribute(name, value === true ? "" : String(value));
}

/**
 * Return the element with an id.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  return document.getElementById(id);
}

/** What each select contains, so that the same content isn't built again. */
const contents = new WeakMap();

/**
 * Replace the content of a select, and choose a value.
 * @param {HTMLSelectElement} select
 * @param {{value: string, text: string, group?: string}[]} options
 * @param {string} chosen
 */
export function fillSelect(select, options, chosen) {
  const content = JSON.stringify(options);
  if (contents.get(select) === content) {
    select.value = chosen;
    return;
  }
  contents.set(select, content);
  const groups = new Map();
  const nodes = [];
  for (const { value, text, group } of options) {
    const option = el("option", { value, text });
    option.selected = value === chosen;
    if (!group) nodes.push(option);
    else {
      if (!groups.has(group)) {
        groups.set(group, el("optgroup", { label: group }));
        nodes.push(groups.get(group));
      }
      groups.get(group).append(option);
    }
  }
  select.replaceChildren(...nodes);
}
