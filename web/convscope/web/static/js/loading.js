// Loads the models, and what the server knows about the chosen version.

import { ApiError, getInfo, getLabels, getModels } from "./api.js";
import { PageError } from "./errors.js";
import { fail } from "./failures.js";
import { methodsOf, takesImages } from "./models.js";
import { choices, session } from "./state.js";

const NO_MODELS = new PageError(
  "The server has no model",
  "Export one into the server's folder of models; it is loaded without a restart.",
);
/** The error of a model that takes no images. */
export const NO_IMAGES = new PageError(
  "This model takes no images",
  "It takes signals or clips, which this page can't show. Choose another model above.",
);

/** Load the models, and choose one if the address names none. */
export async function loadModels() {
  try {
    const models = await getModels();
    session.set({ models, error: models.length ? null : NO_MODELS });
    if (!models.length) return;
    if (!choices.values.model) choices.set({ model: preferred(models) });
    else await loadInfo();
  } catch (error) {
    fail(error, loadModels);
  }
}

/** Load what the server knows about the chosen version. */
export async function loadInfo() {
  const { model, version } = choices.values;
  if (!model || !session.values.models.length) return;
  try {
    const [info, labels] = await Promise.all([getInfo(model, version), getLabels(model, version)]);
    if (model !== choices.values.model || version !== choices.values.version) return;
    const { target, against, method } = choices.values;
    choices.set({
      target: within(target, labels),
      against: within(against, labels),
      method: methodsOf(info).includes(method) ? method : "",
    });
    session.set({
      info: { ...info, chosen: chosenName() },
      labels,
      error: takesImages(info) ? null : NO_IMAGES,
    });
  } catch (error) {
    const away = error instanceof ApiError && error.away;
    if (!away) session.set({ info: null, labels: [], result: null });
    fail(error, loadInfo);
  }
}

/** Report whether the description that is loaded is that of the chosen version. */
export function isDescribed() {
  return session.values.info?.chosen === chosenName();
}

function chosenName() {
  return `${choices.values.model}\n${choices.values.version}`;
}

function within(index, labels) {
  return index !== null && index < labels.length ? index : null;
}

/** Return the model to start with: the first one that is ready. */
function preferred(models) {
  return (models.find(({ ready }) => ready) ?? models[0]).name;
}
