// The controls above the tiles.

import { el, setAttribute, setText } from "./dom.js";
import { orders } from "./filters.js";
import { number, signs, states } from "./format.js";

export class FilterBar {
  // onChange is called after the filters were changed here.
  constructor(form, filters, onChange) {
    this.filters = filters;
    const change = (set) => (event) => { set(event.currentTarget); onChange(); };
    this.text = el("input", { type: "search", id: "filter-text", placeholder: "Filter by id", "aria-label": "Filter by id", autocomplete: "off", spellcheck: "false", input: change((input) => { filters.text = input.value.trim(); }) });
    this.chips = states.map((state) => {
      const count = el("span", { class: "n" });
      const chip = el("button", { type: "button", class: "chip", "data-state": state, "aria-pressed": "false", click: change(() => { if (!filters.states.delete(state)) filters.states.add(state); }) },
        el("span", { class: "sign", "aria-hidden": "true" }, signs[state]), ` ${state} `, count);
      return { state, chip, count };
    });
    this.placeable = el("button", { type: "button", class: "chip", "aria-pressed": "false", click: change(() => { filters.placeable = !filters.placeable; }) }, "placeable only");
    this.region = el("button", { type: "button", class: "chip", click: change(() => { filters.region = ""; }) });
    this.order = el("select", { id: "order", change: change((select) => { filters.order = select.value; }) }, ...Object.entries(orders).map(([value, { label }]) => el("option", { value }, label)));
    this.size = el("select", { id: "size", change: change((select) => { filters.size = select.value; }) }, el("option", { value: "" }, "Automatic"), el("option", { value: "large" }, "Large"), el("option", { value: "small" }, "Small"));
    this.clear = el("button", { type: "button", class: "plain", click: change(() => { filters.text = filters.region = ""; filters.states.clear(); filters.placeable = false; }) }, "Clear filters");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.append(this.text, el("div", { class: "chips", role: "group", "aria-label": "States" }, ...this.chips.map(({ chip }) => chip), this.placeable, this.region, this.clear),
      el("div", { class: "selects" }, el("label", {}, "Sort ", this.order), el("label", {}, "Tiles ", this.size)));
    this.show();
  }

  // show draws what the filters are, whoever changed them.
  show() {
    const { filters } = this;
    // Not while somebody types: the text is trimmed.
    if (this.text.value.trim() !== filters.text) this.text.value = filters.text;
    for (const { state, chip } of this.chips) setAttribute(chip, "aria-pressed", String(filters.states.has(state)));
    setAttribute(this.placeable, "aria-pressed", String(filters.placeable));
    this.region.hidden = filters.region === "";
    setText(this.region, `region ${filters.region} ×`);
    setAttribute(this.region, "aria-label", `Show all regions, not only ${filters.region}`);
    this.order.value = filters.order;
    this.size.value = filters.size;
    this.clear.hidden = !filters.active;
  }

  // count shows how many controllers there are in each state, in the regions that are shown.
  count(regions) {
    for (const { state, count } of this.chips) {
      const n = regions.reduce((sum, region) => sum + (this.filters.region === "" || this.filters.region === region.name ? region[state] : 0), 0);
      setText(count, number(n));
    }
  }
}
