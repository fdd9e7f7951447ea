// Layout puts the tiles into rows, and the rows into blocks. The browser does not paint blocks that are not on the screen.

import { el, setAttribute, setText } from "./dom.js";
import { formatNumber } from "./format.js";

// More tiles than this are small by default, so that the fleet fits on a screen.
const maxLargeTiles = 400;

// The sizes in pixels are those of the style sheet. Tiles that show their region are tall; otherwise a heading shows it.
const tileSizes = {
  small: { width: 22, height: 22, gap: 3 },
  large: { width: 178, height: 50, gap: 6 },
  tall: { width: 178, height: 58, gap: 6 },
};
const headingHeight = 26;

// A gradual reorder fills this many blocks in each frame, because painting takes longer than moving.
const blocksPerFrame = 1;

export class Layout {
  #columns = 0;
  #rows = []; // the tiles by rows
  #blockNodes = []; // of all blocks so far, to use them again
  #headings = new Map(); // by region
  #frame = 0;

  // onFocusLost is called when the tile with the focus was moved, which removes the focus.
  constructor(grid, onFocusLost) {
    this.grid = grid;
    this.onFocusLost = onFocusLost;
  }

  // show puts the tiles in their places. A gradual change takes several frames.
  show({ controllers, tiles, order, isGrouped, size, isGradual }) {
    cancelAnimationFrame(this.#frame);
    setAttribute(this.grid, "data-size", size || (tiles.length > maxLargeTiles ? "small" : "large"));
    setAttribute(this.grid, "data-grouped", String(isGrouped));

    const blocks = this.#makeBlocks({ controllers, tiles, order, isGrouped });
    setChildren(this.grid, blocks.map(({ node }) => node));
    this.#fillBlocks(blocks, isGradual);
  }

  // findNeighbour returns the tile in the same column, rowStep rows further down, or up if it is negative.
  findNeighbour(tile, rowStep) {
    const row = this.#rows[Math.min(Math.max(tile.row + rowStep, 0), this.#rows.length - 1)];
    if (row === this.#rows[tile.row]) return tile;
    return row[Math.min(this.#rows[tile.row].indexOf(tile), row.length - 1)];
  }

  #makeBlocks({ controllers, tiles, order, isGrouped }) {
    const size = this.#chooseTileSize(isGrouped);
    this.#setColumns(size);
    this.#rows = [];

    const tilesPerBlock = this.#columns * order.rowsPerBlock;
    const blocks = [];
    for (const { from, to } of splitIntoGroups(controllers, isGrouped)) {
      for (let at = from; at < to; at += tilesPerBlock) {
        const blockTiles = tiles.slice(at, Math.min(at + tilesPerBlock, to));
        const children = blockTiles.map((tile) => tile.node);
        const hasHeading = isGrouped && at === from;
        if (hasHeading) children.unshift(this.#getHeading(controllers[from].region, to - from));

        const rowsHeight = this.#addRows(blockTiles) * (size.height + size.gap) - size.gap;
        const node = this.#blockNodes[blocks.length] ??= el("div", { class: "block", role: "presentation" });
        node.style.containIntrinsicHeight = `${rowsHeight + (hasHeading ? headingHeight + size.gap : 0)}px`;
        blocks.push({ node, children });
      }
    }
    return blocks;
  }

  #chooseTileSize(isGrouped) {
    if (this.grid.dataset.size === "small") return tileSizes.small;
    return isGrouped ? tileSizes.large : tileSizes.tall;
  }

  #setColumns({ width, gap }) {
    const columns = Math.max(1, Math.floor((this.grid.clientWidth + gap) / (width + gap)));
    if (columns !== this.#columns) this.grid.style.setProperty("--columns", columns);
    this.#columns = columns;
  }

  #addRows(tiles) {
    const rowCount = Math.ceil(tiles.length / this.#columns);
    for (let i = 0; i < rowCount; i++) {
      const row = tiles.slice(i * this.#columns, (i + 1) * this.#columns);
      for (const tile of row) tile.row = this.#rows.length;
      this.#rows.push(row);
    }
    return rowCount;
  }

  #getHeading(region, size) {
    let heading = this.#headings.get(region);
    if (!heading) {
      heading = el("div", { class: "heading", "aria-hidden": "true" }, el("span"), el("span", { class: "muted" }));
      setText(heading.firstChild, region);
      this.#headings.set(region, heading);
    }
    setText(heading.lastChild, formatNumber(size));
    return heading;
  }

  #fillBlocks(blocks, isGradual) {
    let at = 0;
    const fillSome = () => {
      this.#frame = 0;
      const end = isGradual ? Math.min(at + blocksPerFrame, blocks.length) : blocks.length;
      const hadFocus = this.grid.contains(document.activeElement);
      for (; at < end; at++) {
        const { node, children } = blocks[at];
        setChildren(node, children, isGradual && at + 1 < blocks.length ? blocks[at + 1].node : null);
      }
      if (hadFocus && !this.grid.contains(document.activeElement)) this.onFocusLost();
      if (at < blocks.length) this.#frame = requestAnimationFrame(fillSome);
    };
    fillSome();
  }
}

// splitIntoGroups returns a range of controllers for each region, or one range for all.
function splitIntoGroups(controllers, isGrouped) {
  const groups = [];
  for (let from = 0; from < controllers.length;) {
    let to = isGrouped ? from + 1 : controllers.length;
    while (to < controllers.length && controllers[to].region === controllers[from].region) to++;
    groups.push({ from, to });
    from = to;
  }
  return groups;
}

// setChildren makes nodes the children of parent, and moves as few as possible. Other children are moved to overflow if it is not
// null, where a later call finds them.
function setChildren(parent, nodes, overflow = null) {
  const wanted = new Set(nodes);
  let next = parent.firstElementChild;
  const removeNext = () => {
    const removed = next;
    next = next.nextElementSibling;
    if (overflow) overflow.append(removed);
    else removed.remove();
  };

  for (const node of nodes) {
    while (next && !wanted.has(next)) removeNext();
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
  }
  while (next) removeNext();
}
