// The cards of the regions: controllers by state, capacity in use, and headroom without the largest controller.

import { el, setAttribute, setText } from "./dom.js";
import { formatNumber, formatUse, signs, states } from "./format.js";

// CapacityBar has a mark at the capacity without the largest controller.
class CapacityBar {
  constructor(name) {
    this.name = name;
    this.fill = el("span", { class: "fill" });
    this.mark = el("span", { class: "mark" });
    this.track = el("span", { class: "track", role: "img" }, this.fill, this.mark);
    this.numbers = el("span", { class: "numbers" });
    this.node = el("div", { class: "capacity" }, el("span", { class: "what" }, name), this.numbers, this.track);
  }

  show({ max, largest, current }) {
    // If more is in use than the maximum, the track is as long as the use.
    const length = Math.max(max, current, 1);
    const maxWithoutLargest = Math.max(max - largest, 0);
    const use = formatUse(current, max);
    this.fill.style.width = `${(100 * current) / length}%`;
    this.mark.style.left = `${(100 * maxWithoutLargest) / length}%`;
    setAttribute(this.node, "data-level", current > max ? "over" : current > maxWithoutLargest ? "tight" : "headroom");
    setText(this.numbers, use);
    const label = `${use} ${this.name.toLowerCase()}; ${formatNumber(maxWithoutLargest)} without the largest controller`;
    setAttribute(this.track, "aria-label", label);
  }
}

class RegionCard {
  constructor(name, onChoose) {
    this.name = el("button", { type: "button", class: "name", "aria-pressed": "false", click: onChoose });
    setText(this.name, name);
    this.total = el("span", { class: "total" });
    this.states = Object.fromEntries(states.map((state) => [state, el("li", { "data-state": state })]));
    this.meetings = new CapacityBar("Meetings");
    this.participants = new CapacityBar("Participants");
    this.verdict = el("p", { class: "verdict" });

    this.node = el("article", { class: "region" },
      el("header", {}, this.name, this.total),
      el("ul", { class: "states", "aria-label": "Controllers by state" }, ...Object.values(this.states)),
      this.meetings.node, this.participants.node, this.verdict);
    this.node.dataset.region = name;
  }

  show(region, isChosen) {
    setAttribute(this.name, "aria-pressed", String(isChosen));
    setText(this.total, formatNumber(region.total));
    for (const state of states) {
      const node = this.states[state];
      node.hidden = region[state] === 0;
      setText(node, `${signs[state]} ${formatNumber(region[state])}`);
      setAttribute(node, "title", `${formatNumber(region[state])} ${state}`);
      setAttribute(node, "aria-label", `${formatNumber(region[state])} ${state}`);
    }

    this.meetings.show(region.meetings);
    this.participants.show(region.participants);
    setAttribute(this.verdict, "data-survives", String(region.survivesLargestLoss));
    setText(this.verdict, describeVerdict(region));
  }
}

function describeVerdict(region) {
  if (region.survivesLargestLoss) return "✓ Survives the loss of its largest controller";
  return region.serving === 0 ? "× No controller is serving" : "× Does not survive the loss of its largest controller";
}

export class Regions {
  #cards = new Map();

  // onChoose is called with the region that was chosen, "" if that region was chosen already.
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

    regions.forEach((region, i) => this.#getCard(region.name, i).show(region, this.filters.region === region.name));
  }

  // getCard returns the card of a region. A new card is inserted at the index.
  #getCard(name, index) {
    let card = this.#cards.get(name);
    if (!card) {
      card = new RegionCard(name, () => this.onChoose(this.filters.region === name ? "" : name));
      this.#cards.set(name, card);
      this.parent.insertBefore(card.node, this.parent.children[index] ?? null);
    }
    return card;
  }
}
