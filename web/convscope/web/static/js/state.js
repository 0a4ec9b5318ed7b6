// The state of the page: what was chosen, which the address bar shows, and what is loaded.

import { Store } from "./store.js";

export const TABS = ["classes", "layers", "compare", "details"];

/**
 * What was chosen.
 * @type {Store<{
 *   model: string, version: string, tab: string, sample: string,
 *   target: number | null, against: number | null, method: string, layers: string,
 *   otherModel: string, otherVersion: string, opacity: number, drawing: boolean,
 * }>}
 * `version` is empty for the default version, or a number or an alias. `target` is the index of the
 * explained class, null for the most probable one; `against` that of the class it is contrasted with.
 * `layers` is "stages", one for each resolution, or "all".
 */
export const choices = new Store({
  model: "",
  version: "",
  tab: "classes",
  sample: "",
  target: null,
  against: null,
  method: "",
  layers: "stages",
  otherModel: "",
  otherVersion: "",
  opacity: 0.7,
  drawing: false,
});

/**
 * What is loaded. `info` and `labels` belong to the chosen version, `result` to the chosen image.
 * @type {Store<{
 *   models: import("./api.js").ModelEntry[], info: any, labels: string[], image: any, result: any,
 *   other: any, busy: boolean, error: any, otherError: any,
 * }>}
 */
export const session = new Store({
  models: [],
  info: null,
  labels: [],
  image: null,
  result: null,
  other: null,
  busy: false,
  error: null,
  otherError: null,
});
