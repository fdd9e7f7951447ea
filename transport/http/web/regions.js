// The regions: what runs, what may run, what could if the largest controller failed, and the controllers by state.

import { el, setAttribute, setText } from "./dom.js";
import { number, signs, states } from "./format.js";

class Bar {
  constructor(what) {
    this.what = what;
    this.fill = el("span", { class: "fill" });
    this.mark = el("span", { class: "mark" });
    this.track = el("span", { class: "track", role: "img" }, this.fill, this.mark);
    this.numbers = el("span", { class: "numbers" });
    this.node = el("div", { class: "capacity" }, el("span", { class: "what" }, what), this.numbers, this.track);
  }

  show({ max, largest, current }) {
    // When more runs than may, the track is as long as what runs.
    const whole = Math.max(max, current, 1);
    const without = Math.max(max - largest, 0);
    this.fill.style.width = `${(100 * current) / whole}%`;
    this.mark.style.left = `${(100 * without) / whole}%`;
    setAttribute(this.node, "data-level", current > max ? "over" : current > without ? "tight" : "room");
    setText(this.numbers, `${number(current)} of ${number(max)}`);
    setAttribute(this.track, "aria-label", `${number(current)} of ${number(max)} ${this.what.toLowerCase()}; ${number(without)} without the largest controller`);
  }
}

class Card {
  constructor(name, onChoose) {
    this.name = el("button", { type: "button", class: "name", "aria-pressed": "false", click: onChoose });
    setText(this.name, name);
    this.total = el("span", { class: "total" });
    this.states = Object.fromEntries(states.map((state) => [state, el("li", { "data-state": state })]));
    this.meetings = new Bar("Meetings");
    this.participants = new Bar("Participants");
    this.verdict = el("p", { class: "verdict" });
    this.node = el("article", { class: "region" }, el("header", {}, this.name, this.total),
      el("ul", { class: "states", "aria-label": "Controllers by state" }, ...Object.values(this.states)), this.meetings.node, this.participants.node, this.verdict);
    this.node.dataset.region = name;
  }

  show(region, chosen) {
    setAttribute(this.name, "aria-pressed", String(chosen));
    setText(this.total, number(region.total));
    for (const state of states) {
      const node = this.states[state];
      node.hidden = region[state] === 0;
      setText(node, `${signs[state]} ${number(region[state])}`);
      setAttribute(node, "title", `${number(region[state])} ${state}`);
      setAttribute(node, "aria-label", `${number(region[state])} ${state}`);
    }
    this.meetings.show(region.meetings);
    this.participants.show(region.participants);
    const survives = region.survivesLargestLoss;
    setAttribute(this.verdict, "data-survives", String(survives));
    setText(this.verdict, survives ? "✓ Survives the loss of its largest controller" : region.serving === 0 ? "× No controller takes meetings" : "× Would not survive the loss of its largest controller");
  }
}

export class Regions {
  #cards = new Map();

  // onChoose gets the region that was chosen, "" when it was chosen already.
  constructor(parent, filters, onChoose) {
    this.parent = parent;
    this.filters = filters;
    this.onChoose = onChoose;
  }

  show(regions) {
    const names = new Set(regions.map((region) => region.name));
    for (const [name, card] of this.#cards) {
      if (names.has(name)) continue;
      card.node.remove();
      this.#cards.delete(name);
    }
    regions.forEach((region, i) => {
      let card = this.#cards.get(region.name);
      if (!card) {
        card = new Card(region.name, () => this.onChoose(this.filters.region === region.name ? "" : region.name));
        this.#cards.set(region.name, card);
        this.parent.insertBefore(card.node, this.parent.children[i] ?? null);
      }
      card.show(region, this.filters.region === region.name);
    });
  }
}
