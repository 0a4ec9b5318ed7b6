// What is asked of the server: always what the present choices need, and only the latest.

import { classify } from "./api.js";
import { refreshComparison } from "./comparison.js";
import { fail } from "./failures.js";
import { Latest } from "./latest.js";
import { isDescribed, loadInfo } from "./loading.js";
import { explainsSlowly, methodsOf, takesImages } from "./models.js";
import { choices, session } from "./state.js";

const STRONGEST = 24;
const TOP_K = 8;
const TOP_K_OF_DRAWINGS = 10;
// While drawing, each channel stays at its place if all of them fit.
const ALL_CHANNELS = 24;

const request = new Latest(classifyImage);

/** Keep the results up to date with the choices. */
export function followChoices() {
  choices.on(["model", "version"], loadInfo);
  choices.on(["target", "against", "method", "tab", "layers"], refresh);
  choices.on(["otherModel", "otherVersion"], refresh);
  session.on(["image", "info"], refresh);
}

/** Ask for what is missing. */
function refresh() {
  const { image, info } = session.values;
  if (!image || !takesImages(info) || !isDescribed()) return;
  if (isMissing()) request.run(!image.region);
  refreshComparison();
}

/**
 * Return all channels of one feature map.
 * @param {string} name
 * @param {number} count How many it has.
 * @param {any} result The result whose image is classified again.
 */
export async function allChannels(name, count, result) {
  const parameters = { version: result.version, top_k: 1, feature_maps: [name], strongest: count };
  const reply = await classify(result.model, result.image.blob, parameters);
  return reply.results[0].feature_maps[0];
}

/** Report whether the channels of a drawing are shown in the order of the layer. */
export function keepsPlaces(image, info) {
  return Boolean(image.region) && info.feature_maps.every(({ shape }) => shape[0] <= ALL_CHANNELS);
}

/** Return what a result depends on, without its feature maps. */
function key() {
  const { model, version, target, against, method } = choices.values;
  return [session.values.image?.id, model, version, target, against, method].join("|");
}

function isMissing() {
  const { result } = session.values;
  const maps = wantedMaps();
  return result?.key !== key() || (maps !== "" && result.maps !== maps);
}

/** Return which feature maps the chosen tab shows. */
function wantedMaps() {
  const { tab, layers } = choices.values;
  if (tab === "layers") return layers;
  return tab === "compare" ? "stages" : "";
}

/** @param {AbortSignal} signal */
async function classifyImage(signal) {
  const { image, info } = session.values;
  if (!image || !isMissing()) return;
  const { model, version } = choices.values;
  const [asked, maps] = [key(), wantedMaps()];
  session.set({ busy: true });
  const started = performance.now();
  try {
    const reply = await classify(model, image.blob, parametersFor(image, info, maps), signal);
    const seconds = (performance.now() - started) / 1000;
    session.set({ result: { ...reply, key: asked, image, maps, seconds }, error: null });
    // Another version has become the default one.
    if (version === "" && reply.version !== info.version) await loadInfo();
  } catch (error) {
    fail(error, refresh);
  } finally {
    session.set({ busy: false });
  }
}

function parametersFor(image, info, maps) {
  const { version, target, against, method } = choices.values;
  const [usual] = explainsSlowly(info) && target === null ? [] : methodsOf(info);
  const hasMaps = maps !== "" && info.feature_maps.length > 0;
  return {
    version,
    top_k: image.region ? TOP_K_OF_DRAWINGS : TOP_K,
    explain: usual && [target ?? "#1"],
    against: usual && (against ?? undefined),
    method: usual && (method || usual),
    feature_maps: hasMaps ? [maps] : undefined,
    strongest: hasMaps ? (keepsPlaces(image, info) ? ALL_CHANNELS : STRONGEST) : undefined,
  };
}
