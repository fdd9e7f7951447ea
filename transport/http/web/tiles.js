// Tiles shows the controllers that match the filters, in the chosen order.

import { orders } from "./filters.js";
import { TileKeyboard } from "./keyboard.js";
import { Layout } from "./layout.js";
import { Tile } from "./tile.js";

// If more tiles change at a time, none flashes: the browser paints a flash in every frame, and many flashes point out nothing.
const maxFlashes = 6;
const flashFrames = [
  { boxShadow: "0 0 0 4px var(--flash)" },
  { boxShadow: "0 0 0 4px var(--flash)", offset: 0.5 },
  { boxShadow: "0 0 0 0 transparent" },
];
const flashDuration = 1500;

export class Tiles {
  #tiles = new Map(); // by id
  #matchingIDs = new Set();
  #shown = []; // the matching tiles in their order
  #selected = null;
  #reorderTimer = 0;
  #runningFlashes = 0;
  #reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
  #layout;
  #keyboard;

  // onOpen is called with the id of the chosen tile, onCount with the number of tiles.
  constructor(grid, empty, fleet, filters, { onOpen, onCount }) {
    Object.assign(this, { grid, empty, fleet, filters, onOpen, onCount });
    this.#layout = new Layout(grid, () => this.#keyboard.focus("", true));
    this.#keyboard = new TileKeyboard(grid, this.#layout, { findTile: (id) => this.#tiles.get(id), onOpen });

    grid.addEventListener("click", (event) => {
      const node = event.target.closest(".tile");
      if (node) this.onOpen(node.dataset.id);
    });
    // The width decides how many tiles a row has.
    new ResizeObserver(() => { if (this.#shown.length > 0) this.reorder(); }).observe(grid);
  }

  get currentID() { return this.#keyboard.currentID; }

  focus(id) {
    this.#keyboard.focus(id);
  }

  // select marks the tile whose controller is open, none for "".
  select(id) {
    this.#selected?.node.setAttribute("aria-selected", "false");
    this.#selected = this.#tiles.get(id);
    this.#selected?.node.setAttribute("aria-selected", "true");
  }

  apply({ changedIDs, isSnapshot }) {
    let mustReorder = isSnapshot;
    const withNewState = [];
    for (const id of changedIDs) {
      const c = this.fleet.controllers.get(id);
      if (!c) {
        this.#tiles.delete(id);
        if (this.#matchingIDs.delete(id)) mustReorder = true;
        continue;
      }
      const tile = this.#getTile(id);
      if (tile.show(c) && !isSnapshot) withNewState.push(tile);
      if (this.#updateMatch(c)) mustReorder = true;
    }

    // The start of an animation makes the browser lay out the page, so it follows the last change.
    if (withNewState.length <= maxFlashes) for (const tile of withNewState) this.#flash(tile);
    if (isSnapshot) this.reorder();
    else if (mustReorder || (changedIDs.size > 0 && this.#order.followsLoad)) this.#reorderLater();
  }

  get #order() { return orders[this.filters.order]; }

  #getTile(id) {
    let tile = this.#tiles.get(id);
    if (!tile) {
      tile = new Tile(id);
      this.#tiles.set(id, tile);
    }
    return tile;
  }

  // updateMatch records whether a controller matches the filters, and reports whether that has changed.
  #updateMatch(c) {
    const matches = this.filters.matches(c);
    if (matches === this.#matchingIDs.has(c.controller_id)) return false;
    if (matches) this.#matchingIDs.add(c.controller_id);
    else this.#matchingIDs.delete(c.controller_id);
    return true;
  }

  // refilter applies changed filters.
  refilter() {
    this.#matchingIDs.clear();
    for (const c of this.fleet.controllers.values()) {
      if (this.filters.matches(c)) this.#matchingIDs.add(c.controller_id);
    }
    this.reorder();
  }

  #reorderLater() {
    this.#reorderTimer ||= setTimeout(() => requestAnimationFrame(() => this.reorder(true)), this.#order.reorderDelay);
  }

  // reorder puts the matching tiles in order. A gradual reorder takes several frames.
  reorder(isGradual = false) {
    clearTimeout(this.#reorderTimer);
    this.#reorderTimer = 0;

    const controllers = [...this.#matchingIDs].map((id) => this.fleet.controllers.get(id)).filter(Boolean);
    controllers.sort(this.#order.compare);
    // A controller may have no tile yet if its update was not drawn.
    this.#shown = controllers.map((c) => this.#getTile(c.controller_id));

    this.#layout.show({
      controllers,
      tiles: this.#shown,
      order: this.#order,
      isGrouped: this.filters.order === "region",
      size: this.filters.size,
      isGradual,
    });
    this.#keyboard.update(this.#shown);
    this.empty.hidden = this.#shown.length > 0 || this.fleet.controllers.size === 0;
    this.onCount(this.#shown.length);
  }

  #flash(tile) {
    if (this.#reducedMotion.matches || this.#runningFlashes >= 2 * maxFlashes) return;
    this.#runningFlashes++;
    const flash = tile.node.animate(flashFrames, flashDuration);
    flash.onfinish = flash.oncancel = () => { this.#runningFlashes--; };
  }
}
