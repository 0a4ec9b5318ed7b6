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
 * Return the name of a version for people.
 * @param {string} model
 * @param {string | number} version
 */
export function versionName(model, version) {
  return version === "" ? model : `${model}, version ${version}`;
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
