// Watch opens the event stream and reopens it after the last event.

import { APIError, hasToken, sendRequest } from "./api.js";
import { EventReader } from "./sse.js";

// All times are in milliseconds. The server sends an event every 5 s, so a stream without one for streamTimeout is broken.
const streamTimeout = 17000;
// If the store's time stays the same for clockTimeout, the store does not respond.
const clockTimeout = 12000;
const firstDelay = 500;
const maxDelay = 15000;

const statusOfCode = { INVALID_TOKEN: 401, FORBIDDEN: 403, SERVICE_UNAVAILABLE: 503, RATE_LIMIT_EXCEEDED: 429 };

export class Watch {
  #fleet;
  #resumeAfter = null; // the id of the last event that a new stream does not repeat
  #controller = null; // aborts the watch
  #endStream = null; // ends the open stream, so that another one is opened
  #endDelay = () => {};
  #lastDataAt = 0; // by the browser's clock
  #clockMovedAt = 0; // when the store's time last changed, by the browser's clock
  #storeTime = "";

  // onState is called with a state and its details: "connecting", "live", "stalled" with {seconds}, "waiting" with {cause},
  // or "off". onRefused is called with the error if the token is refused.
  constructor(fleet, onState, onRefused) {
    this.#fleet = fleet;
    this.onState = onState;
    this.onRefused = onRefused;
    setInterval(() => this.#checkTimeouts(), 1000);
  }

  // start opens the stream from the beginning, with a snapshot.
  start() {
    this.stop();
    this.#resumeAfter = null;
    const controller = new AbortController();
    this.#controller = controller;
    this.#run(controller.signal);
  }

  stop() {
    this.#controller?.abort();
    this.#controller = null;
    this.#endDelay();
    this.onState("off", {});
  }

  retryNow() {
    this.#endDelay();
  }

  // run opens one stream after the other until signal is aborted.
  async #run(signal) {
    let delay = firstDelay;
    while (!signal.aborted && hasToken()) {
      this.onState("connecting", {});
      let cause = "The connection ended.";
      try {
        await this.#readStream(signal, () => { delay = firstDelay; });
      } catch (err) {
        if (signal.aborted) return;
        if (err instanceof APIError && (err.status === 401 || err.status === 403)) {
          this.stop();
          this.onRefused(err);
          return;
        }
        if (err instanceof APIError) cause = err.message;
      }
      if (signal.aborted) return;

      // The random part spreads pages that lost their connections at the same time.
      await this.#wait(delay * (0.5 + Math.random()), cause);
      delay = Math.min(maxDelay, delay * 2);
    }
  }

  #wait(ms, cause) {
    this.onState("waiting", { cause });
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#endDelay = () => { clearTimeout(timer); resolve(); };
    });
  }

  // readStream opens one stream and reads it to its end. onData is called for each piece.
  async #readStream(signal, onData) {
    const stream = new AbortController();
    const end = () => stream.abort();
    signal.addEventListener("abort", end, { once: true });
    this.#endStream = end;
    this.#lastDataAt = this.#clockMovedAt = performance.now();
    try {
      const query = new URLSearchParams({ loads: "true" });
      if (this.#resumeAfter !== null) query.set("after", this.#resumeAfter);
      const response = await sendRequest(`api/v1/watch?${query}`, { signal: stream.signal, headers: { accept: "text/event-stream" } });
      this.#fleet.abandonSnapshot();
      this.onState("live", {});

      const reader = new EventReader((event) => this.#receive(event));
      const pieces = response.body.getReader();
      const decoder = new TextDecoder();
      for (;;) {
        const { done, value } = await pieces.read();
        if (done) return;
        this.#lastDataAt = performance.now();
        reader.push(decoder.decode(value, { stream: true }));
        onData();
      }
    } finally {
      signal.removeEventListener("abort", end);
      stream.abort();
      if (this.#endStream === end) this.#endStream = null;
    }
  }

  #receive({ type, data, id }) {
    const message = JSON.parse(data);
    if (type === "error") {
      const { code, message: text } = message.error;
      throw new APIError(statusOfCode[code] ?? 500, code, text);
    }

    this.#fleet.receive(type, message);
    // Parts of a snapshot before its last one have no id, so EventReader still has the id of the event before.
    if (id !== null && !(type === "snapshot" && !message.end)) this.#resumeAfter = id;

    // A store whose clock was set back responds as well, so any other time counts.
    if (message.as_of !== this.#storeTime) {
      this.#storeTime = message.as_of;
      this.#clockMovedAt = performance.now();
      this.onState("live", {});
    }
  }

  #checkTimeouts() {
    if (!this.#endStream) return;
    const now = performance.now();
    const stalledFor = now - this.#clockMovedAt;
    if (now - this.#lastDataAt > streamTimeout) this.#endStream();
    else if (stalledFor > clockTimeout) this.onState("stalled", { seconds: Math.round(stalledFor / 1000) });
  }
}
