// The calls to the server, with the token, and what goes wrong in words.

// The token is in this variable and nowhere else: not in the document, not in any storage, not in an address.
let token = "";

export const setToken = (text) => { token = text; };
export const forgetToken = () => { token = ""; };
export const hasToken = () => token !== "";

// APIError is an answer that is no success, or none at all (status 0).
export class APIError extends Error {
  constructor(status, code, message) {
    super(inWords(status, message));
    this.status = status;
    this.code = code;
  }
}

function inWords(status, message) {
  switch (status) {
    case 0: return "The server cannot be reached.";
    case 401: return "The token is not valid, or not any more.";
    case 403: return "The token does not allow this: reading needs gc:read, draining needs gc:admin.";
    case 404: return message || "The server does not know this.";
    case 409: return message || "Somebody else was faster.";
    case 429: return "Too many requests; the server asks to wait a little.";
    case 503: return "The server cannot do this at the moment: its store does not answer, or it is stopping.";
    case 504: return "The server did not manage this in time.";
    default: return message ? `${message}.` : `The server answered with status ${status}.`;
  }
}

// The page may be served below a prefix, which a proxy takes away: every address is relative to where this file came from.
const base = new URL("../", import.meta.url);

// open sends a request and returns the answer when it is a success. The path is relative to the page.
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
    // Something between here and the server has answered in a form of its own; the status says enough.
  }
  throw new APIError(response.status, error.code ?? "", error.message ?? "");
}

export async function call(path, options) {
  return (await open(path, { signal: AbortSignal.timeout(15000), ...options })).json();
}

const of = (id) => `api/v1/controllers/${encodeURIComponent(id)}`;

export const getController = (id) => call(of(id));
export const drain = (id, order) => call(`${of(id)}/drain`, { method: "POST", body: order });

export function undrain(id, reason, generation) {
  const query = new URLSearchParams({ expected_generation: generation });
  if (reason) query.set("reason", reason);
  return call(`${of(id)}/drain?${query}`, { method: "DELETE" });
}

export function transitions(id, before, size) {
  const query = new URLSearchParams({ order: "newest", page_size: size });
  if (before) query.set("before", before);
  return call(`${of(id)}/transitions?${query}`);
}
