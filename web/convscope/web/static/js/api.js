// The HTTP API of the server.

/**
 * @typedef {{name: string, ready: boolean, state: string, default_version: number | null,
 *   versions: {version: number, state: string, provider: string, reason: string}[],
 *   aliases: Record<string, number>}} ModelEntry
 * @typedef {{name: string, shape: number[], stride: number, stage: number, is_stage: boolean}} FeatureMapEntry
 */

// The token of the user; it is kept in memory only, and gone when the page is closed.
let token = "";

/**
 * Send a token with each request from now on.
 * @param {string} value
 */
export function useToken(value) {
  token = value;
}

/** An error that the server reported. */
export class ApiError extends Error {
  /**
   * @param {number} status The HTTP status.
   * @param {string} code The name of gRPC's code, such as "INVALID_ARGUMENT".
   * @param {string} message
   * @param {number | null} retryAfter Seconds after which the server asks to try again.
   */
  constructor(status, code, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }

  /** Whether the server behind this page, or this page's own server, is away. */
  get away() {
    return this.status === 0 || this.code === "UNAVAILABLE";
  }
}

/**
 * Return the models of the server.
 * @returns {Promise<ModelEntry[]>}
 */
export async function getModels() {
  return (await request("v1/models")).models;
}

/**
 * Return what the server knows about a version.
 * @param {string} model
 * @param {string} version
 */
export function getInfo(model, version) {
  return request(`v1/models/${encodeURIComponent(model)}${query({ version })}`);
}

/**
 * Return the labels of a version, in the order of their indices.
 * @param {string} model
 * @param {string} version
 * @returns {Promise<string[]>}
 */
export async function getLabels(model, version) {
  return (await request(`v1/models/${encodeURIComponent(model)}/labels${query({ version })}`))
    .labels;
}

/**
 * Classify an image.
 * @param {string} model
 * @param {Blob} image
 * @param {Record<string, string | number | (string | number)[] | undefined>} parameters
 * @param {AbortSignal} [signal]
 */
export function classify(model, image, parameters, signal) {
  return request(`v1/models/${encodeURIComponent(model)}:classify${query(parameters)}`, {
    method: "POST",
    body: image,
    headers: { "content-type": image.type || "application/octet-stream" },
    signal,
  });
}

/** Return whether the server behind this page is ready. */
export async function isReady() {
  try {
    return (await fetch(address("readyz"), { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

/** Return the URL of a path below that of the page, wherever a proxy publishes it. */
function address(path) {
  return new URL(path, document.baseURI);
}

/** @param {Record<string, any>} parameters */
function query(parameters) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== "") search.append(name, String(one));
    }
  }
  const text = search.toString();
  return text ? `?${text}` : "";
}

/** @param {string} path @param {RequestInit} [options] */
async function request(path, options) {
  let reply;
  const headers = { ...options?.headers, ...(token && { authorization: `Bearer ${token}` }) };
  try {
    reply = await fetch(address(path), { ...options, headers });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "UNAVAILABLE", "The server of this page does not answer.");
  }
  const body = await reply.json().catch(() => null);
  if (reply.ok && body !== null) return body;
  const { code = "UNKNOWN", message = "" } = body?.error ?? {};
  const after = Number(reply.headers.get("retry-after") ?? NaN);
  const said = message || `The server replied with status ${reply.status}.`;
  throw new ApiError(reply.status, code, said, Number.isFinite(after) ? after : null);
}
