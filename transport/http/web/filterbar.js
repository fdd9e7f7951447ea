// The controls above the tiles: the filters, the order and the size.

import { el, setAttribute, setText } from "./dom.js";
import { orders } from "./filters.js";
import { formatNumber, signs, states } from "./format.js";

const sizes = [["", "Automatic"], ["large", "Large"], ["small", "Small"]];

const makeOptions = (pairs) => pairs.map(([value, label]) => el("option", { value }, label));

export class FilterBar {
  // onChange is called after a control has changed the filters.
  constructor(form, filters, onChange) {
    this.filters = filters;
    this.onChange = onChange;
    this.#makeControls();

    form.addEventListener("submit", (event) => event.preventDefault());
    form.append(
      this.text,
      el("div", { class: "chips", role: "group", "aria-label": "States" },
        ...this.chips.map(({ chip }) => chip), this.placeable, this.region, this.clear),
      el("div", { class: "selects" }, el("label", {}, "Sort ", this.order), el("label", {}, "Tiles ", this.size)));
    this.show();
  }

  #makeControls() {
    const { filters } = this;
    const change = (apply) => (event) => { apply(event.currentTarget); this.onChange(); };

    this.text = el("input", {
      type: "search", id: "filter-text", placeholder: "Filter by id", "aria-label": "Filter by id",
      autocomplete: "off", spellcheck: "false",
      input: change((input) => { filters.text = input.value.trim(); }),
    });
    this.chips = states.map((state) => this.#makeChip(state, change(() => filters.toggleState(state))));
    this.placeable = el("button", {
      type: "button", class: "chip", "aria-pressed": "false",
      click: change(() => { filters.placeable = !filters.placeable; }),
    }, "accepts meetings");
    this.region = el("button", { type: "button", class: "chip", click: change(() => { filters.region = ""; }) });
    this.order = el("select", { id: "order", change: change((select) => { filters.order = select.value; }) },
      ...makeOptions(Object.entries(orders).map(([value, { label }]) => [value, label])));
    this.size = el("select", { id: "size", change: change((select) => { filters.size = select.value; }) }, ...makeOptions(sizes));
    this.clear = el("button", { type: "button", class: "plain", click: change(() => filters.clear()) }, "Clear filters");
  }

  #makeChip(state, click) {
    const count = el("span", { class: "n" });
    const chip = el("button", { type: "button", class: "chip", "data-state": state, "aria-pressed": "false", click },
      el("span", { class: "sign", "aria-hidden": "true" }, signs[state]), ` ${state} `, count);
    return { state, chip, count };
  }

  show() {
    const { filters } = this;
    // The filter has the trimmed text, which must not replace a text that is being typed.
    if (this.text.value.trim() !== filters.text) this.text.value = filters.text;
    for (const { state, chip } of this.chips) setAttribute(chip, "aria-pressed", String(filters.states.has(state)));
    setAttribute(this.placeable, "aria-pressed", String(filters.placeable));
    this.region.hidden = filters.region === "";
    setText(this.region, `region ${filters.region} ×`);
    setAttribute(this.region, "aria-label", `Show all regions, not only ${filters.region}`);
    this.order.value = filters.order;
    this.size.value = filters.size;
    this.clear.hidden = !filters.isActive;
  }

  // showCounts shows the number of controllers in each state, over the regions that the filters select.
  showCounts(regions) {
    const selected = regions.filter((region) => this.filters.region === "" || this.filters.region === region.name);
    for (const { state, count } of this.chips) {
      setText(count, formatNumber(selected.reduce((sum, region) => sum + region[state], 0)));
    }
  }
}
