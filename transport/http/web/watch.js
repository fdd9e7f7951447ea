// The connection that the fleet comes over: opened, read, watched over, and opened again from where it broke off.

import { APIError, hasToken, open } from "./api.js";
import { EventReader } from "./sse.js";

// Something comes every 5 s, so a stream that is silent for longer than this is dead, whatever the network says.
const deadAfter = 17000;
// A store whose clock has not moved for this long while the stream lives does not answer the server.
const silentAfter = 12000;
const firstWait = 500;
const longestWait = 15000;

export class Watch {
  #fleet;
  #after = null;
  #controller = null;
  #wake = () => {};
  #heard = 0;
  #moved = 0;
  #clock = "";

  // onState is told "connecting", "live", "silent", "waiting" with {seconds, why}, or "off"; onRefused gets the error when
  // the token is the reason.
  constructor(fleet, onState, onRefused) {
    this.#fleet = fleet;
    this.onState = onState;
    this.onRefused = onRefused;
    setInterval(() => this.#check(), 1000);
  }

  // start opens the stream, as a new reader when fresh is set.
  start(fresh) {
    this.stop();
    if (fresh) this.#after = null;
    const controller = new AbortController();
    this.#controller = controller;
    this.#run(controller);
  }

  stop() {
    this.#controller?.abort();
    this.#controller = null;
    this.#wake();
    this.onState("off", {});
  }

  // retry does not wait any longer.
  retry() {
    this.#wake();
  }

  async #run(controller) {
    let wait = firstWait;
    while (!controller.signal.aborted && hasToken()) {
      this.onState("connecting", {});
      let why = "The connection ended.";
      try {
        await this.#read(controller, () => { wait = firstWait; });
      } catch (err) {
        if (controller.signal.aborted) return;
        if (err instanceof APIError && (err.status === 401 || err.status === 403)) {
          this.stop();
          this.onRefused(err);
          return;
        }
        if (err instanceof APIError) why = err.message;
      }
      if (controller.signal.aborted) return;
      // Everybody who was cut off at once must not come back at once.
      const delay = wait * (0.5 + Math.random());
      wait = Math.min(longestWait, wait * 2);
      this.onState("waiting", { seconds: Math.ceil(delay / 1000), why });
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, delay);
        this.#wake = () => { clearTimeout(timer); resolve(); };
      });
    }
  }

  // read takes one stream to its end.
  async #read(controller, onFirst) {
    const stream = new AbortController();
    const end = () => stream.abort();
    controller.signal.addEventListener("abort", end, { once: true });
    this.kill = end;
    try {
      const query = new URLSearchParams({ loads: "true" });
      if (this.#after !== null) query.set("after", this.#after);
      this.#heard = performance.now();
      this.#moved = performance.now();
      const response = await open(`api/v1/watch?${query}`, { signal: stream.signal, headers: { accept: "text/event-stream" } });
      this.#fleet.abandon();
      const reader = new EventReader((event) => this.#event(event));
      const chunks = response.body.getReader();
      const decoder = new TextDecoder();
      this.onState("live", {});
      for (;;) {
        const { done, value } = await chunks.read();
        if (done) return;
        this.#heard = performance.now();
        reader.push(decoder.decode(value, { stream: true }));
        onFirst();
      }
    } finally {
      controller.signal.removeEventListener("abort", end);
      stream.abort();
      this.kill = null;
    }
  }

  #event({ type, data, id }) {
    const message = JSON.parse(data);
    if (type === "error") {
      const { code, message: text } = message.error;
      const status = { INVALID_TOKEN: 401, FORBIDDEN: 403, SERVICE_UNAVAILABLE: 503, RATE_LIMIT_EXCEEDED: 429 }[code] ?? 500;
      throw new APIError(status, code, text);
    }
    this.#fleet.receive(type, message);
    // The id of a snapshot that is still coming would be one before it.
    if (id !== null && !(type === "snapshot" && !message.end)) this.#after = id;
    // Also when it moved back: a store whose clock was set back answers.
    if (message.as_of !== this.#clock) {
      this.#clock = message.as_of;
      this.#moved = performance.now();
      this.onState("live", {});
    }
  }

  #check() {
    if (!this.kill) return;
    const now = performance.now();
    if (now - this.#heard > deadAfter) this.kill();
    else if (now - this.#moved > silentAfter) this.onState("silent", { seconds: Math.round((now - this.#moved) / 1000) });
  }
}
