// Every controller as a tile. Elements, not a canvas: a keyboard and a screen reader can walk among them, and 5,000 of
// them are cheap as long as only what differs is touched.

import { el, setAttribute, setText } from "./dom.js";
import { load, number, percent, signs } from "./format.js";
import { orders } from "./filters.js";

// More tiles than this are drawn small unless asked otherwise, so that the fleet fits on a screen.
const manyTiles = 400;
// How long an order that has changed may stay on the screen: putting 5,000 tiles in another order takes a long frame.
const reorderAfter = { region: 250, id: 250, load: 3000, heard: 3000 };
// No more tiles than this flash at a time.
const flashes = 40;

const pattern = el("div", { class: "tile", role: "option", tabindex: "-1", "aria-selected": "false" },
  el("span", { class: "sign" }), el("span", { class: "id" }), el("span", { class: "where" }), el("span", { class: "full" }), el("span", { class: "bar" }, el("span")));

class Tile {
  constructor(id) {
    this.id = id;
    this.node = pattern.cloneNode(true);
    this.node.dataset.id = id;
    [this.sign, this.name, this.where, this.full, this.bar] = this.node.children;
    this.name.textContent = id;
    this.fill = this.bar.firstChild;
  }

  // show draws the controller, and tells whether its state is another than before.
  show(c) {
    const before = this.state;
    if (this.state !== c.state || this.stale !== c.stale || this.placeable !== c.placement.placeable || this.region !== c.region) {
      this.state = c.state;
      this.stale = c.stale;
      this.placeable = c.placement.placeable;
      this.region = c.region;
      this.node.dataset.state = c.state;
      setAttribute(this.node, "data-stale", c.stale ? "" : null);
      setAttribute(this.node, "data-placeable", c.placement.placeable ? "" : null);
      setText(this.sign, signs[c.state]);
      setText(this.where, c.region);
      const label = `${this.id}, ${c.state}${c.stale && c.state !== "unhealthy" ? ", silent" : ""}${c.placement.placeable ? "" : ", not placeable"}, ${c.region}`;
      this.node.setAttribute("aria-label", label);
      this.node.title = label;
    }
    // A step of 2 % is as much as can be seen.
    const step = Math.min(50, Math.round(load(c) * 50));
    if (step !== this.step) {
      this.step = step;
      this.fill.style.width = `${step * 2}%`;
      setText(this.full, percent(step / 50));
    }
    return before !== undefined && before !== c.state;
  }
}

export class Tiles {
  #tiles = new Map();
  #headings = new Map();
  #shown = []; // the tiles that match, as they are on the screen
  #matching = new Set();
  #current = null;
  #timer = 0;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");

  // onOpen gets the id of the tile that was chosen, onCount is told after every change of what is shown.
  constructor(grid, empty, fleet, filters, { onOpen, onCount }) {
    Object.assign(this, { grid, empty, fleet, filters, onOpen, onCount });
    grid.addEventListener("click", (event) => {
      const node = event.target.closest(".tile");
      if (node) this.onOpen(node.dataset.id);
    });
    grid.addEventListener("focusin", (event) => {
      const node = event.target.closest(".tile");
      if (node) this.#rove(this.#tiles.get(node.dataset.id));
      else if (event.target === grid) this.focus();
    });
    grid.addEventListener("keydown", (event) => this.#key(event));
  }

  // apply draws what changed.
  apply({ changed, whole }) {
    let flashed = 0;
    let reorder = whole;
    for (const id of changed) {
      const c = this.fleet.controllers.get(id);
      let tile = this.#tiles.get(id);
      if (!c) {
        if (tile) {
          this.#tiles.delete(id);
          if (this.#matching.delete(id)) reorder = true;
        }
        continue;
      }
      if (!tile) {
        tile = new Tile(id);
        this.#tiles.set(id, tile);
      }
      if (tile.show(c) && !whole && flashed++ < flashes) this.#flash(tile);
      const matches = this.filters.matches(c);
      if (matches !== this.#matching.has(id)) {
        if (matches) this.#matching.add(id);
        else this.#matching.delete(id);
        reorder = true;
      }
    }
    if (whole) this.reorder();
    else if (reorder || (changed.size > 0 && reorderAfter[this.filters.order] > 1000)) this.#reorderSoon();
  }

  // refilter looks at every controller anew, after the filters have changed.
  refilter() {
    this.#matching.clear();
    for (const c of this.fleet.controllers.values()) {
      if (this.filters.matches(c)) this.#matching.add(c.controller_id);
    }
    this.reorder();
  }

  #reorderSoon() {
    this.#timer ||= setTimeout(() => requestAnimationFrame(() => this.reorder()), reorderAfter[this.filters.order]);
  }

  // reorder puts the tiles that match in their places.
  reorder() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const controllers = [...this.#matching].map((id) => this.fleet.controllers.get(id)).filter(Boolean);
    controllers.sort(orders[this.filters.order].compare);
    const had = this.grid.contains(document.activeElement) ? document.activeElement : null;
    const place = this.#shown.indexOf(this.#current);
    this.#shown = controllers.map((c) => this.#tiles.get(c.controller_id));
    this.grid.dataset.size = this.filters.size || (this.#shown.length > manyTiles ? "small" : "large");
    this.grid.dataset.grouped = this.filters.order === "region";
    arrange(this.grid, this.filters.order === "region" ? this.#withHeadings(controllers) : this.#shown.map((tile) => tile.node));
    if (this.#current && !this.#current.node.isConnected) this.#rove(this.#shown[Math.min(Math.max(place, 0), this.#shown.length - 1)]);
    else if (!this.#current) this.#rove(this.#shown[0]);
    // An element that is moved loses the focus.
    if (had && document.activeElement !== had) this.focus();
    this.empty.hidden = this.#shown.length > 0 || this.fleet.controllers.size === 0;
    this.onCount(this.#shown.length);
  }

  #withHeadings(controllers) {
    const nodes = [];
    let region = null;
    let first = 0;
    controllers.forEach((c, i) => {
      if (c.region !== region) {
        region = c.region;
        first = i;
        if (!this.#headings.has(region)) {
          const heading = el("div", { class: "heading", "aria-hidden": "true" }, el("span"), el("span", { class: "muted" }));
          setText(heading.firstChild, region);
          this.#headings.set(region, heading);
        }
        nodes.push(this.#headings.get(region));
      }
      if (i + 1 === controllers.length || controllers[i + 1].region !== region) setText(this.#headings.get(region).lastChild, number(i + 1 - first));
      nodes.push(this.#shown[i].node);
    });
    return nodes;
  }

  // select marks the tile whose controller is open, "" for none.
  select(id) {
    if (this.selected) setAttribute(this.selected.node, "aria-selected", "false");
    this.selected = this.#tiles.get(id);
    if (this.selected) setAttribute(this.selected.node, "aria-selected", "true");
  }

  // focus goes to the tile where the keyboard is, or to the given one.
  focus(id) {
    if (id && this.#tiles.get(id)?.node.isConnected) this.#rove(this.#tiles.get(id));
    (this.#current?.node ?? this.grid).focus({ preventScroll: false });
  }

  get currentID() { return this.#current?.id ?? ""; }

  // Only one tile is a stop of the Tab key; the arrow keys move that stop.
  #rove(tile) {
    if (this.#current === tile) return;
    if (this.#current) this.#current.node.tabIndex = -1;
    this.#current = tile ?? null;
    if (tile) tile.node.tabIndex = 0;
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const at = this.#shown.indexOf(this.#current);
    if (at < 0) return;
    const last = this.#shown.length - 1;
    let to = at;
    switch (event.key) {
      case "ArrowRight": to = at + 1; break;
      case "ArrowLeft": to = at - 1; break;
      case "ArrowDown": to = this.#below(at, 1); break;
      case "ArrowUp": to = this.#below(at, -1); break;
      case "PageDown": case "PageUp": {
        const rows = 8;
        for (let i = 0; i < rows; i++) to = this.#below(to, event.key === "PageDown" ? 1 : -1);
        break;
      }
      case "Home": to = 0; break;
      case "End": to = last; break;
      case "Enter": case " ":
        event.preventDefault();
        this.onOpen(this.#current.id);
        return;
      default: return;
    }
    event.preventDefault();
    this.#rove(this.#shown[Math.min(Math.max(to, 0), last)]);
    this.focus();
  }

  // below finds the tile in the next row (or the one before, for a step of −1) that stands nearest.
  #below(at, step) {
    const here = this.#shown[at].node;
    let best = at;
    let row = null;
    for (let i = at + step; i >= 0 && i < this.#shown.length; i += step) {
      const { offsetTop, offsetLeft } = this.#shown[i].node;
      if (offsetTop === here.offsetTop) continue;
      if (row !== null && offsetTop !== row) break;
      if (row === null || Math.abs(offsetLeft - here.offsetLeft) < Math.abs(this.#shown[best].node.offsetLeft - here.offsetLeft)) best = i;
      row = offsetTop;
    }
    return best;
  }

  #flash(tile) {
    if (this.#calm.matches) return;
    tile.node.animate([{ boxShadow: "0 0 0 4px var(--flash)" }, { boxShadow: "0 0 0 4px var(--flash)", offset: 0.5 }, { boxShadow: "0 0 0 0 transparent" }], 1500);
  }
}

// arrange makes nodes the children of parent, and moves no more than it must: what is in its place stays.
function arrange(parent, nodes) {
  if (parent.childElementCount === 0) return parent.replaceChildren(...nodes);
  let next = parent.firstElementChild;
  const wanted = new Set(nodes);
  for (const node of nodes) {
    while (next && !wanted.has(next)) {
      const gone = next;
      next = next.nextElementSibling;
      gone.remove();
    }
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
  }
  while (next) {
    const gone = next;
    next = next.nextElementSibling;
    gone.remove();
  }
  return undefined;
}
