// Questions about a model, answered from its description.

const LARGEST_DRAWN = 64;

/**
 * Report whether a drawing suits a model: its images are small and gray.
 * @param {any} info
 */
export function drawsWell(info) {
  const input = info?.input;
  return (
    Boolean(input) &&
    input.channels === 1 &&
    Math.max(input.height ?? 0, input.width ?? 0) <= LARGEST_DRAWN &&
    input.kind !== "tensor"
  );
}

/**
 * Report whether a model takes images at all.
 * @param {any} info
 */
export function takesImages(info) {
  return Boolean(info) && info.input?.kind !== "tensor";
}

/**
 * Return the methods of explanation that a version offers.
 * @param {any} info
 * @returns {string[]}
 */
export function methodsOf(info) {
  return info?.explanations?.methods ?? [];
}

/**
 * Report whether a version explains by occlusion only. That takes many runs of the network, so it is
 * done for a class that someone has chosen, and not for each image.
 * @param {any} info
 */
export function explainsSlowly(info) {
  return methodsOf(info)[0] === "occlusion";
}

/**
 * Return the options of a select for the version of a model.
 * @param {import("./api.js").ModelEntry | undefined} entry
 * @returns {{value: string, text: string}[]}
 */
export function versionOptions(entry) {
  if (!entry) return [{ value: "", text: "default" }];
  const usual = entry.default_version === null ? "default" : `default (${entry.default_version})`;
  return [
    { value: "", text: usual },
    ...Object.entries(entry.aliases ?? {}).map(([alias, version]) => ({
      value: alias,
      text: `${alias} (${version})`,
    })),
    ...entry.versions.map(({ version, state }) => ({
      value: String(version),
      text: state === "ready" ? String(version) : `${version} (${state})`,
    })),
  ];
}
