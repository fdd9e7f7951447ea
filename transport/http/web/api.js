// Calls of the API with the operator's token, and texts for their errors.

const requestTimeout = 15000; // milliseconds

// The token is in this variable only: not in the document, a storage or an address.
let token = "";

export const setToken = (text) => { token = text; };
export const forgetToken = () => { token = ""; };
export const hasToken = () => token !== "";

// APIError is a response with an error status. The status is 0 if there was no response.
export class APIError extends Error {
  constructor(status, code, message) {
    super(describeStatus(status, message));
    this.status = status;
    this.code = code;
  }
}

// describeStatus returns the text of an error status. The message is the server's, empty if a proxy has responded.
function describeStatus(status, message) {
  switch (status) {
    case 0: return "The server cannot be reached.";
    case 401: return "The token is invalid or has expired.";
    case 403: return "The token does not allow this: reading needs gc:read, draining needs gc:admin.";
    case 404: return `${message || "Not found on the server"}.`;
    case 409: return `${message || "The controller has changed in the meantime"}.`;
    case 429: return `${message || "Too many requests"}. Wait a moment before you try again.`;
    case 503: return `${message || "The server is unavailable"}. Check its store, token keys and clock: GET /ready shows them.`;
    case 504: return "The server did not respond in time.";
    default: return message ? `${message}.` : `The server responded with status ${status}.`;
  }
}

// describeError returns the text of any error of a call. Errors other than APIError are timeouts.
export const describeError = (err) => (err instanceof APIError ? err.message : "The server did not respond in time.");

// A proxy may serve the page below a prefix that it removes. So every address is relative to the address of this file.
const base = new URL("../", import.meta.url);

// sendRequest sends a request and returns the response if it is a success. The path is relative to the page.
export async function sendRequest(path, { method = "GET", body, headers = {}, signal } = {}) {
  let response;
  try {
    response = await fetch(new URL(path, base), {
      method,
      signal,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      headers: { authorization: `Bearer ${token}`, ...(body ? { "content-type": "application/json" } : {}), ...headers },
      body: body ? JSON.stringify(body) : undefined,
    });
  } catch (err) {
    if (signal?.aborted) throw err;
    throw new APIError(0, "UNREACHABLE", "");
  }
  if (response.ok) return response;

  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // A proxy may respond in another format.
  }
  throw new APIError(response.status, error.code ?? "", error.message ?? "");
}

async function requestJSON(path, options) {
  const response = await sendRequest(path, { signal: AbortSignal.timeout(requestTimeout), ...options });
  return response.json();
}

const formatControllerPath = (id) => `api/v1/controllers/${encodeURIComponent(id)}`;

export const getController = (id) => requestJSON(formatControllerPath(id));
export const drainController = (id, order) => requestJSON(`${formatControllerPath(id)}/drain`, { method: "POST", body: order });

export function undrainController(id, reason, generation) {
  const query = new URLSearchParams({ expected_generation: generation });
  if (reason) query.set("reason", reason);
  return requestJSON(`${formatControllerPath(id)}/drain?${query}`, { method: "DELETE" });
}

// listTransitions returns a page of a controller's history, newest first: the entries before an id, or the newest if it is 0.
export function listTransitions(id, before, size) {
  const query = new URLSearchParams({ order: "newest", page_size: size });
  if (before) query.set("before", before);
  return requestJSON(`${formatControllerPath(id)}/transitions?${query}`);
}
