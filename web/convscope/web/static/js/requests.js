// What is asked of the server: always what the present choices need, and only the latest.

import { ApiError, classify, getInfo, getLabels, getModels } from "./api.js";
import { whenBack } from "./connection.js";
import { PageError } from "./errors.js";
import { methodsOf, takesImages } from "./models.js";
import { choices, session } from "./state.js";

const STRONGEST = 24;
const STRONGEST_COMPARED = 6;
const TOP_K = 8;
// While drawing, each channel stays at its place if all of them fit.
const ALL_CHANNELS = 24;
const NO_MODELS = new PageError(
  "The server has no model",
  "Export one into the server's folder of models; it is loaded without a restart.",
);
const NO_IMAGES = new PageError(
  "This model takes no images",
  "It takes signals or clips, which this page can't show. Choose another model above.",
);

/** Runs one request after another; of those that wait, only the latest. */
class Latest {
  /** @param {(signal: AbortSignal) => Promise<void>} work */
  constructor(work) {
    this.work = work;
    this.controller = null;
    this.again = false;
  }

  /** @param {boolean} abort Whether to give up the request that runs. */
  async run(abort) {
    if (this.controller) {
      this.again = true;
      if (abort) this.controller.abort();
      return;
    }
    do {
      this.again = false;
      this.controller = new AbortController();
      try {
        await this.work(this.controller.signal);
      } finally {
        this.controller = null;
      }
    } while (this.again);
  }
}

const mainRequest = new Latest(classifyImage);
const otherRequest = new Latest(classifyWithOther);

/** Keep the results up to date with the choices. */
export function followChoices() {
  choices.on(["model", "version"], loadInfo);
  choices.on(["target", "against", "method", "tab", "layers"], () => refresh());
  session.on(["image", "info"], () => refresh());
  choices.on(["otherModel", "otherVersion"], () => refresh());
}

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
      info: { ...info, chosen: `${model}\n${version}` },
      labels,
      error: takesImages(info) ? null : NO_IMAGES,
    });
  } catch (error) {
    if (!(error instanceof ApiError && error.away))
      session.set({ info: null, labels: [], result: null });
    fail(error, loadInfo);
  }
}

/** Ask for what is missing. */
export function refresh() {
  const { image, info } = session.values;
  if (!image || !takesImages(info)) return;
  if (info.chosen !== `${choices.values.model}\n${choices.values.version}`) return;
  if (needsMain()) mainRequest.run(!image.region);
  if (needsOther()) otherRequest.run(!image.region);
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

function mainKey() {
  const { model, version, target, against, method } = choices.values;
  return [session.values.image?.id, model, version, target, against, method].join("|");
}

function needsMain() {
  const { result } = session.values;
  const maps = wantedMaps();
  return result?.key !== mainKey() || (maps !== "" && result.maps !== maps);
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
  if (!image || !needsMain()) return;
  const { model, version, target, against, method } = choices.values;
  const key = mainKey();
  const wanted = wantedMaps();
  const maps = wanted !== "" && info.feature_maps.length > 0;
  const explained = methodsOf(info).length > 0;
  const parameters = {
    version,
    top_k: Math.max(TOP_K, image.region ? 10 : 0),
    explain: explained ? [target ?? "#1"] : undefined,
    against: explained && against !== null ? against : undefined,
    method: explained ? method || methodsOf(info)[0] : undefined,
    feature_maps: maps ? [wanted] : undefined,
    strongest: maps ? (keepsPlaces(image, info) ? ALL_CHANNELS : STRONGEST) : undefined,
  };
  session.set({ busy: true });
  const started = performance.now();
  await attempt(signal, async () => {
    const reply = await classify(model, image.blob, parameters, signal);
    const seconds = (performance.now() - started) / 1000;
    session.set({ result: { ...reply, key, image, maps: wanted, seconds }, error: null });
    if (reply.version !== info.version && version === "") await loadInfo(); // it is no longer the default
  });
  session.set({ busy: false });
}

function otherKey() {
  const { otherModel, otherVersion, target } = choices.values;
  return [session.values.image?.id, otherModel, otherVersion, target].join("|");
}

function needsOther() {
  return (
    choices.values.tab === "compare" &&
    choices.values.otherModel !== "" &&
    session.values.other?.key !== otherKey()
  );
}

/** The description of the network to compare with; it is asked for once, not for each stroke. */
let described = null;

async function describeOther(model, version) {
  const name = `${model}\n${version}`;
  if (described?.name !== name) {
    const [info, labels] = await Promise.all([getInfo(model, version), getLabels(model, version)]);
    described = { name, info, labels };
  }
  return described;
}

/** @param {AbortSignal} signal */
async function classifyWithOther(signal) {
  const { image } = session.values;
  if (!image || !needsOther()) return;
  const { otherModel, otherVersion, target } = choices.values;
  const key = otherKey();
  try {
    const { info, labels } = await describeOther(otherModel, otherVersion);
    if (!takesImages(info)) throw NO_IMAGES;
    const same = target === null ? -1 : labels.indexOf(session.values.labels[target]);
    const explained = methodsOf(info).length > 0;
    const reply = await classify(
      otherModel,
      image.blob,
      {
        version: otherVersion,
        top_k: TOP_K,
        explain: explained ? [same >= 0 ? same : "#1"] : undefined,
        method: explained ? methodsOf(info)[0] : undefined,
        feature_maps: info.feature_maps.length ? ["stages"] : undefined,
        strongest: info.feature_maps.length ? STRONGEST_COMPARED : undefined,
      },
      signal,
    );
    if (reply.version !== info.version) described = null; // a new version is the default one
    session.set({ other: { ...reply, key, image, info, labels }, otherError: null });
  } catch (error) {
    if (isAbort(error)) return;
    if (error instanceof ApiError && error.away) whenBack(refresh, error);
    else session.set({ otherError: error, other: { key } });
  }
}

/** Run a request; a busy server is asked again when it says, and one that is away when it is back. */
async function attempt(signal, work) {
  try {
    await work();
  } catch (error) {
    if (isAbort(error) || signal.aborted) return;
    fail(error, refresh);
    if (error instanceof ApiError && error.retryAfter !== null && !error.away) {
      setTimeout(refresh, 1000 * error.retryAfter);
    }
  }
}

/** @param {unknown} error @param {() => void} resume */
function fail(error, resume) {
  if (error instanceof ApiError && error.away) whenBack(resume, error);
  else session.set({ error });
}

/** Report whether the channels of a drawing are shown in the order of the layer. */
export function keepsPlaces(image, info) {
  return Boolean(image.region) && info.feature_maps.every(({ shape }) => shape[0] <= ALL_CHANNELS);
}

function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

function within(index, labels) {
  return index !== null && index < labels.length ? index : null;
}

/** Return the model to start with: the one that has the most versions loaded, by name. */
function preferred(models) {
  return (models.find(({ ready }) => ready) ?? models[0]).name;
}
