// Calls of the API with the token, and texts for their errors.

// The token is in this variable and nowhere else: not in the document, not in any storage, not in an address.
let token = "";

export const setToken = (text) => { token = text; };
export const forgetToken = () => { token = ""; };
export const hasToken = () => token !== "";

// APIError is a response with an error status. The status is 0 if there was no response.
export class APIError extends Error {
  constructor(status, code, message) {
    super(describe(status, message));
    this.status = status;
    this.code = code;
  }
}

function describe(status, message) {
  switch (status) {
    case 0: return "The server cannot be reached.";
    case 401: return "The token is invalid or has expired.";
    case 403: return "The token does not allow this: reading needs gc:read, draining needs gc:admin.";
    case 404: return message || "Not found on the server.";
    case 409: return message || "The controller has changed in the meantime.";
    case 429: return "Too many requests: wait a moment before you try again.";
    case 503: return "The server is unavailable: its store does not respond, or it is stopping.";
    case 504: return "The server did not respond in time.";
    default: return message ? `${message}.` : `The server responded with status ${status}.`;
  }
}

// errorText returns the text of any error of a call. All other errors are timeouts of the browser.
export const errorText = (err) => (err instanceof APIError ? err.message : "The server did not respond in time.");

// A proxy may serve the page below a prefix that it removes. Every address is relative to the address of this file.
const base = new URL("../", import.meta.url);

// open sends a request and returns the response if it is a success. The path is relative to the page.
export async function open(path, { method = "GET", body, headers = {}, signal } = {}) {
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
    // A proxy may respond in another format. The status is enough for a text.
  }
  throw new APIError(response.status, error.code ?? "", error.message ?? "");
}

export async function call(path, options) {
  return (await open(path, { signal: AbortSignal.timeout(15000), ...options })).json();
}

const controllerPath = (id) => `api/v1/controllers/${encodeURIComponent(id)}`;

export const getController = (id) => call(controllerPath(id));
export const drain = (id, order) => call(`${controllerPath(id)}/drain`, { method: "POST", body: order });

export function undrain(id, reason, generation) {
  const query = new URLSearchParams({ expected_generation: generation });
  if (reason) query.set("reason", reason);
  return call(`${controllerPath(id)}/drain?${query}`, { method: "DELETE" });
}

// listTransitions returns a page of a controller's history, newest first: the entries before an id, or the newest if it is 0.
export function listTransitions(id, before, size) {
  const query = new URLSearchParams({ order: "newest", page_size: size });
  if (before) query.set("before", before);
  return call(`${controllerPath(id)}/transitions?${query}`);
}
