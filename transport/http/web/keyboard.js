// Keyboard navigation of the tiles. Only one tile, the current one, is a stop of the Tab key. The arrow keys make another tile the
// current one.

const rowSteps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };

export class TileKeyboard {
  #shown = []; // the tiles in their order
  #current = null;

  // findTile returns the tile of an id. onOpen is called with the id of the opened tile.
  constructor(grid, layout, { findTile, onOpen }) {
    Object.assign(this, { grid, layout, findTile, onOpen });
    grid.addEventListener("focusin", (event) => this.#handleFocus(event));
    grid.addEventListener("keydown", (event) => this.#handleKey(event));
  }

  get currentID() { return this.#current?.id ?? ""; }

  // update replaces the tiles. If the current tile is not among them, the tile at its index becomes the current one.
  update(shown) {
    const index = this.#shown.indexOf(this.#current);
    this.#shown = shown;
    if (!this.#current) this.#setCurrent(shown[0]);
    else if (!this.#current.node.isConnected) this.#setCurrent(shown[this.#clampIndex(index)]);
  }

  // focus moves the focus to the tile of an id if it is shown, otherwise to the current tile.
  focus(id, preventScroll = false) {
    const tile = id ? this.findTile(id) : null;
    if (tile?.node.isConnected) this.#setCurrent(tile);
    (this.#current?.node ?? this.grid).focus({ preventScroll });
  }

  #clampIndex(index) {
    return Math.min(Math.max(index, 0), this.#shown.length - 1);
  }

  #setCurrent(tile) {
    if (this.#current === tile) return;
    if (this.#current) this.#current.node.tabIndex = -1;
    this.#current = tile ?? null;
    if (tile) tile.node.tabIndex = 0;
  }

  #handleFocus(event) {
    const node = event.target.closest(".tile");
    if (node) this.#setCurrent(this.findTile(node.dataset.id));
    else if (event.target === this.grid) this.focus();
  }

  #handleKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const index = this.#shown.indexOf(this.#current);
    if (index < 0) return;

    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.onOpen(this.#current.id);
      return;
    }

    const target = this.#findTarget(event.key, index);
    if (!target) return;
    event.preventDefault();
    this.#setCurrent(target);
    this.focus();
  }

  // findTarget returns the tile to which a key moves from the one at index, if any.
  #findTarget(key, index) {
    switch (key) {
      case "ArrowRight": return this.#shown[this.#clampIndex(index + 1)];
      case "ArrowLeft": return this.#shown[this.#clampIndex(index - 1)];
      case "Home": return this.#shown[0];
      case "End": return this.#shown.at(-1);
      default: return key in rowSteps ? this.layout.findNeighbour(this.#current, rowSteps[key]) : undefined;
    }
  }
}
