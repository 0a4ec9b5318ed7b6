// The second network of the comparison: its result for the image.

import { classify, getInfo, getLabels } from "./api.js";
import { fail } from "./failures.js";
import { Latest } from "./latest.js";
import { NO_IMAGES } from "./loading.js";
import { explainsSlowly, methodsOf, takesImages } from "./models.js";
import { choices, session } from "./state.js";

const STRONGEST = 6;
const TOP_K = 5;

/** The description of the second network; it is asked for once, not for each stroke of a drawing. */
let described = null;
const request = new Latest(ask);

/** Ask for the result of the second network, if it is shown and missing. */
export function refreshComparison() {
  const { image } = session.values;
  if (image && isMissing()) request.run(!image.region);
}

function key() {
  const { otherModel, otherVersion, target } = choices.values;
  return [session.values.image?.id, otherModel, otherVersion, target].join("|");
}

function isMissing() {
  const { tab, otherModel } = choices.values;
  return tab === "compare" && otherModel !== "" && session.values.other?.key !== key();
}

/** @param {AbortSignal} signal */
async function ask(signal) {
  const { image } = session.values;
  if (!image || !isMissing()) return;
  const { otherModel, otherVersion } = choices.values;
  const asked = key();
  try {
    const { info, labels } = await describe(otherModel, otherVersion);
    if (!takesImages(info)) throw NO_IMAGES;
    const parameters = { version: otherVersion, ...parametersFor(info, labels) };
    const reply = await classify(otherModel, image.blob, parameters, signal);
    if (reply.version !== info.version) described = null; // a new version is the default one
    session.set({ other: { ...reply, key: asked, image, info, labels }, otherError: null });
  } catch (error) {
    fail(error, refreshComparison, "otherError");
    // What can't be compared isn't asked for again until something else is chosen.
    if (session.values.otherError === error) session.set({ other: { key: asked } });
  }
}

/** @returns {Promise<{name: string, info: any, labels: string[]}>} */
async function describe(model, version) {
  const name = `${model}\n${version}`;
  if (described?.name !== name) {
    const [info, labels] = await Promise.all([getInfo(model, version), getLabels(model, version)]);
    described = { name, info, labels };
  }
  return described;
}

/** The class is that of the first network, if the second one knows it. */
function parametersFor(info, labels) {
  const { target } = choices.values;
  const same = target === null ? -1 : labels.indexOf(session.values.labels[target]);
  const [method] = explainsSlowly(info) && same < 0 ? [] : methodsOf(info);
  const hasMaps = info.feature_maps.length > 0;
  return {
    top_k: TOP_K,
    explain: method && [same >= 0 ? same : "#1"],
    method,
    feature_maps: hasMaps ? ["stages"] : undefined,
    strongest: hasMaps ? STRONGEST : undefined,
  };
}
