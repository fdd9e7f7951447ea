// Tile shows one controller. Tiles are elements, not a canvas, so that a keyboard and a screen reader can use them.

import { el, setAttribute, setText } from "./dom.js";
import { formatPercent, getLoadRatio, signs } from "./format.js";

const template = el("div", { class: "tile", role: "option", tabindex: "-1", "aria-selected": "false" },
  el("span", { class: "face" },
    el("span", { class: "sign" }),
    el("span", { class: "id" }, el("span"), el("span")),
    el("span", { class: "where" }, el("span"), el("span")),
    el("span", { class: "full" }),
    el("span", { class: "bar" }, el("span"))));

// The bar has steps of 2 %, because smaller ones cannot be seen.
const loadSteps = 50;

// Names of one kind differ at their ends, so a long name is cut in the middle. The title of the tile has the whole name.
const nameEndLength = 9;

function setNameParts({ firstChild, lastChild }, name) {
  const cut = Math.max(0, name.length - nameEndLength);
  setText(firstChild, name.slice(0, cut));
  setText(lastChild, name.slice(cut));
}

export class Tile {
  constructor(id) {
    this.id = id;
    this.node = template.cloneNode(true);
    this.node.dataset.id = id;
    [this.sign, this.name, this.where, this.full, this.bar] = this.node.firstChild.children;
    setNameParts(this.name, id);
    this.fill = this.bar.firstChild;
  }

  // show draws the controller, and reports whether its state has changed.
  show(c) {
    const previousState = this.state;
    this.#showState(c);
    this.#showLoad(c);
    return previousState !== undefined && previousState !== c.state;
  }

  #showState(c) {
    const { placeable } = c.placement;
    if (this.state === c.state && this.stale === c.stale && this.placeable === placeable && this.region === c.region) return;
    this.state = c.state;
    this.stale = c.stale;
    this.placeable = placeable;
    this.region = c.region;

    this.node.dataset.state = c.state;
    setAttribute(this.node, "data-stale", c.stale ? "" : null);
    setAttribute(this.node, "data-placeable", placeable ? "" : null);
    setText(this.sign, signs[c.state]);
    setNameParts(this.where, c.region);

    const isStaleOnly = c.stale && c.state !== "unhealthy";
    const label = `${this.id}, ${c.state}${isStaleOnly ? ", stale" : ""}${placeable ? "" : ", accepts no meetings"}, ${c.region}`;
    this.node.setAttribute("aria-label", label);
    this.node.title = label;
  }

  #showLoad(c) {
    const step = Math.min(loadSteps, Math.round(getLoadRatio(c) * loadSteps));
    if (step === this.loadStep) return;
    this.loadStep = step;
    this.fill.style.width = `${(100 * step) / loadSteps}%`;
    setText(this.full, formatPercent(step / loadSteps));
  }
}
