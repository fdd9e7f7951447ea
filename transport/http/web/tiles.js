// Every controller as a tile. Elements, not a canvas: a keyboard and a screen reader can walk among them, and 5,000 of
// them are cheap as long as only what differs is touched.

import { el, setAttribute, setText } from "./dom.js";
import { load, number, percent, signs } from "./format.js";
import { orders } from "./filters.js";

// More tiles than this are drawn small unless asked otherwise, so that the fleet fits on a screen.
const manyTiles = 400;
// As in the style sheet, in pixels.
const sizes = { small: { width: 22, height: 22, gap: 3 }, large: { width: 178, height: 50, gap: 6 }, tall: { width: 178, height: 58, gap: 6 } };
const rowsOfBlock = { region: 12, id: 12, load: 4, heard: 4 };
// How many blocks a frame puts in an order that nobody waits for: a tile is moved in no time, and painted anew in some.
const slice = 1;
// How long an order that has changed may stay on the screen: putting 5,000 tiles in another order takes a long frame.
const reorderAfter = { region: 250, id: 250, load: 3000, heard: 3000 };
// When more tiles than this change at a time, none flashes: each that does is painted in every frame of it, and where
// everything flashes nothing is pointed out.
const flashes = 6;

const pattern = el("div", { class: "tile", role: "option", tabindex: "-1", "aria-selected": "false" },
  el("span", { class: "face" }, el("span", { class: "sign" }), el("span", { class: "id" }, el("span"), el("span")), el("span", { class: "where" }, el("span"), el("span")), el("span", { class: "full" }), el("span", { class: "bar" }, el("span"))));

// Names of one kind begin alike and differ at their ends, so what does not fit is left out in the middle. The whole name is
// in the tile's title and label.
const endOfName = 9;

function setInMiddle({ firstChild, lastChild }, name) {
  const cut = Math.max(0, name.length - endOfName);
  setText(firstChild, name.slice(0, cut));
  setText(lastChild, name.slice(cut));
}

class Tile {
  constructor(id) {
    this.id = id;
    this.node = pattern.cloneNode(true);
    this.node.dataset.id = id;
    [this.sign, this.name, this.where, this.full, this.bar] = this.node.firstChild.children;
    setInMiddle(this.name, id);
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
      setInMiddle(this.where, c.region);
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
  #rows = []; // the same by rows
  #blocks = [];
  #columns = 0;
  #matching = new Set();
  #current = null;
  #timer = 0;
  #frame = 0;
  #flashing = 0;
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
    // Rows hold other numbers of tiles when the width is another.
    new ResizeObserver(() => { if (this.#shown.length > 0) this.reorder(); }).observe(grid);
  }

  // apply draws what changed.
  apply({ changed, whole }) {
    let reorder = whole;
    const flashing = [];
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
      if (tile.show(c) && !whole) flashing.push(tile);
      const matches = this.filters.matches(c);
      if (matches !== this.#matching.has(id)) {
        if (matches) this.#matching.add(id);
        else this.#matching.delete(id);
        reorder = true;
      }
    }
    // An animation has the browser lay out the page, so they begin when nothing more is written.
    if (flashing.length <= flashes) for (const tile of flashing) this.#flash(tile);
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
    this.#timer ||= setTimeout(() => requestAnimationFrame(() => this.reorder(true)), reorderAfter[this.filters.order]);
  }

  // reorder puts the tiles that match in their places.
  // When nobody waits for it, it takes as many frames as it needs.
  reorder(slowly = false) {
    clearTimeout(this.#timer);
    cancelAnimationFrame(this.#frame);
    this.#timer = this.#frame = 0;
    const controllers = [...this.#matching].map((id) => this.fleet.controllers.get(id)).filter(Boolean);
    controllers.sort(orders[this.filters.order].compare);
    const place = this.#shown.indexOf(this.#current);
    this.#shown = controllers.map((c) => this.#tiles.get(c.controller_id));
    setAttribute(this.grid, "data-size", this.filters.size || (this.#shown.length > manyTiles ? "small" : "large"));
    setAttribute(this.grid, "data-grouped", String(this.filters.order === "region"));
    this.#place(this.#layOut(controllers), slowly);
    if (this.#current && !this.#current.node.isConnected) this.#rove(this.#shown[Math.min(Math.max(place, 0), this.#shown.length - 1)]);
    else if (!this.#current) this.#rove(this.#shown[0]);
    this.empty.hidden = this.#shown.length > 0 || this.fleet.controllers.size === 0;
    this.onCount(this.#shown.length);
  }

  // layOut puts the tiles into rows, and the rows into blocks. A browser passes over blocks that are not on the screen.
  #layOut(controllers) {
    const small = this.grid.dataset.size === "small";
    const grouped = this.filters.order === "region";
    const { width, height, gap } = small ? sizes.small : grouped ? sizes.large : sizes.tall;
    const columns = Math.max(1, Math.floor((this.grid.clientWidth + gap) / (width + gap)));
    if (columns !== this.#columns) this.grid.style.setProperty("--columns", columns);
    this.#columns = columns;
    this.#rows = [];
    const rowsEach = rowsOfBlock[this.filters.order];
    const blocks = [];
    for (let from = 0; from < controllers.length;) {
      const region = controllers[from].region;
      let to = from + 1;
      while (to < controllers.length && (!grouped || controllers[to].region === region)) to++;
      for (let at = from; at < to; at += this.#columns * rowsEach) {
        const tiles = this.#shown.slice(at, Math.min(at + this.#columns * rowsEach, to));
        const nodes = tiles.map((tile) => tile.node);
        const rows = Math.ceil(tiles.length / this.#columns);
        for (let row = 0; row < rows; row++) {
          const inRow = tiles.slice(row * this.#columns, (row + 1) * this.#columns);
          for (const tile of inRow) tile.row = this.#rows.length;
          this.#rows.push(inRow);
        }
        const headed = grouped && at === from;
        if (headed) nodes.unshift(this.#heading(region, to - from));
        const block = this.#blocks[blocks.length] ??= el("div", { class: "block", role: "presentation" });
        block.style.containIntrinsicHeight = `${rows * (height + gap) - gap + (headed ? 26 + gap : 0)}px`;
        blocks.push([block, nodes]);
      }
      from = to;
    }
    return blocks;
  }

  // place puts nodes where layOut wants them.
  #place(blocks, slowly) {
    let at = 0;
    const step = () => {
      this.#frame = 0;
      const end = slowly ? at + slice : blocks.length;
      // An element that is moved loses the focus.
      const had = this.grid.contains(document.activeElement);
      for (; at < Math.min(end, blocks.length); at++) {
        const [block, nodes] = blocks[at];
        arrange(block, nodes, slowly && at + 1 < blocks.length ? blocks[at + 1][0] : null);
      }
      if (had && !this.grid.contains(document.activeElement)) this.focus(undefined, true);
      if (at < blocks.length) this.#frame = requestAnimationFrame(step);
    };
    arrange(this.grid, blocks.map(([block]) => block));
    step();
  }

  #heading(region, size) {
    let heading = this.#headings.get(region);
    if (!heading) {
      heading = el("div", { class: "heading", "aria-hidden": "true" }, el("span"), el("span", { class: "muted" }));
      setText(heading.firstChild, region);
      this.#headings.set(region, heading);
    }
    setText(heading.lastChild, number(size));
    return heading;
  }

  // select marks the tile whose controller is open, "" for none.
  select(id) {
    if (this.selected) setAttribute(this.selected.node, "aria-selected", "false");
    this.selected = this.#tiles.get(id);
    if (this.selected) setAttribute(this.selected.node, "aria-selected", "true");
  }

  // focus goes to the tile where the keyboard is, or to the given one.
  focus(id, preventScroll = false) {
    if (id && this.#tiles.get(id)?.node.isConnected) this.#rove(this.#tiles.get(id));
    (this.#current?.node ?? this.grid).focus({ preventScroll });
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
      case "PageDown": to = this.#below(at, 8); break;
      case "PageUp": to = this.#below(at, -8); break;
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

  // below finds the place of the tile that stands so many rows further down (or up, for a negative number).
  #below(at, step) {
    const tile = this.#shown[at];
    const row = this.#rows[Math.min(Math.max(tile.row + step, 0), this.#rows.length - 1)];
    if (row === this.#rows[tile.row]) return at;
    return this.#shown.indexOf(row[Math.min(this.#rows[tile.row].indexOf(tile), row.length - 1)]);
  }

  #flash(tile) {
    if (this.#calm.matches || this.#flashing >= 2 * flashes) return;
    this.#flashing++;
    const flash = tile.node.animate([{ boxShadow: "0 0 0 4px var(--flash)" }, { boxShadow: "0 0 0 4px var(--flash)", offset: 0.5 }, { boxShadow: "0 0 0 0 transparent" }], 1500);
    flash.onfinish = flash.oncancel = () => { this.#flashing--; };
  }
}

// arrange makes nodes the children of parent, and moves no more than it must: what is in its place stays. What has no place
// here goes to spill, where there is one, to be found again by whoever wants it.
function arrange(parent, nodes, spill = null) {
  const wanted = new Set(nodes);
  let next = parent.firstElementChild;
  const pass = () => {
    const gone = next;
    next = next.nextElementSibling;
    if (spill) spill.append(gone);
    else gone.remove();
  };
  for (const node of nodes) {
    while (next && !wanted.has(next)) pass();
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
  }
  while (next) pass();
}
