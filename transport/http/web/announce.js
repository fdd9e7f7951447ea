// Announcer announces transitions to screen readers. Announcements are few and short: if a whole fleet fails, a message for each
// controller would hide everything else.

import { setText } from "./dom.js";
import { formatCount, states } from "./format.js";

const firstDelay = 500; // milliseconds in which transitions are collected
const pauseTime = 4000; // milliseconds from one announcement to the next
const maxNamed = 3; // More transitions are announced as counts.

export class Announcer {
  #pending = [];
  #timer = 0;

  constructor(node) {
    this.node = node;
  }

  apply({ transitions }) {
    for (const transition of transitions) this.#pending.push(transition);
    if (this.#pending.length > 0) this.#timer ||= setTimeout(() => this.#announcePending(), firstDelay);
  }

  announce(text) {
    setText(this.node, text);
  }

  #announcePending() {
    const transitions = this.#pending;
    this.#pending = [];
    this.#timer = setTimeout(() => this.#endPause(), pauseTime);
    this.announce(transitions.length <= maxNamed ? listTransitions(transitions) : countTransitions(transitions));
  }

  #endPause() {
    this.#timer = 0;
    if (this.#pending.length > 0) this.#announcePending();
  }
}

function listTransitions(transitions) {
  return transitions.map((t) => (t.to ? `${t.controller_id} is ${t.to}.` : `${t.controller_id} left the fleet.`)).join(" ");
}

function countTransitions(transitions) {
  const counts = states
    .map((state) => [state, transitions.filter((t) => t.to === state).length])
    .filter(([, n]) => n > 0);
  return `${formatCount(transitions.length, "change")}: ${counts.map(([state, n]) => `${n} ${state}`).join(", ")}.`;
}
