// What a screen reader is told of changes: few and short, because a fleet that fails would drown everything else.

import { setText } from "./dom.js";
import { count, states } from "./format.js";

const pause = 4000;

export class Announcer {
  #waiting = [];
  #timer = 0;

  constructor(node) {
    this.node = node;
  }

  apply({ transitions }) {
    for (const t of transitions) this.#waiting.push(t);
    if (this.#waiting.length > 0) this.#timer ||= setTimeout(() => this.#say(), 500);
  }

  say(text) {
    setText(this.node, text);
  }

  #say() {
    const said = this.#waiting;
    this.#waiting = [];
    this.#timer = setTimeout(() => { this.#timer = 0; if (this.#waiting.length > 0) this.#say(); }, pause);
    if (said.length <= 3) {
      this.say(said.map((t) => (t.to ? `${t.controller_id} is ${t.to}.` : `${t.controller_id} left the fleet.`)).join(" "));
      return;
    }
    const by = states.map((state) => [state, said.filter((t) => t.to === state).length]).filter(([, n]) => n > 0);
    this.say(`${count(said.length, "change")}: ${by.map(([state, n]) => `${n} ${state}`).join(", ")}.`);
  }
}
