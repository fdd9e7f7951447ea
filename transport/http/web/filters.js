// What is shown and in which order, and how that is written in the address so that it can be shared. The token never is.

import { load, states } from "./format.js";

export const orders = {
  region: { label: "Region", compare: (a, b) => text(a.region, b.region) || text(a.key, b.key) },
  id: { label: "Id", compare: (a, b) => text(a.key, b.key) },
  load: { label: "Load, fullest first", compare: (a, b) => load(b) - load(a) || text(a.key, b.key) },
  heard: { label: "Longest silent first", compare: (a, b) => a.heardAt - b.heardAt || text(a.key, b.key) },
};

// Keys of controllers are made for this comparison; a collator would take a tenth of a second for 5,000 of them.
const text = (a, b) => (a === b ? 0 : a < b ? -1 : 1);

export class Filters {
  text = "";
  region = "";
  states = new Set();
  placeable = false;
  order = "region";
  size = "";
  open = "";

  // read takes over what an address says; what it cannot mean is left out.
  read(hash) {
    const values = new URLSearchParams(hash.replace(/^#/, ""));
    this.text = values.get("q") ?? "";
    this.region = values.get("region") ?? "";
    this.states = new Set((values.get("state") ?? "").split(",").filter((state) => states.includes(state)));
    this.placeable = values.get("placeable") === "1";
    this.order = values.get("sort") in orders ? values.get("sort") : "region";
    this.size = ["small", "large"].includes(values.get("size")) ? values.get("size") : "";
    this.open = values.get("open") ?? "";
  }

  toString() {
    const values = new URLSearchParams();
    if (this.text) values.set("q", this.text);
    if (this.region) values.set("region", this.region);
    if (this.states.size > 0) values.set("state", states.filter((state) => this.states.has(state)).join(","));
    if (this.placeable) values.set("placeable", "1");
    if (this.order !== "region") values.set("sort", this.order);
    if (this.size) values.set("size", this.size);
    if (this.open) values.set("open", this.open);
    return values.toString();
  }

  matches(c) {
    return (this.region === "" || c.region === this.region) && this.matchesBesideRegion(c);
  }

  matchesBesideRegion(c) {
    return (
      (this.states.size === 0 || this.states.has(c.state)) &&
      (!this.placeable || c.placement.placeable) &&
      (this.text === "" || c.controller_id.toLowerCase().includes(this.text.toLowerCase()))
    );
  }

  get active() {
    return this.text !== "" || this.region !== "" || this.states.size > 0 || this.placeable;
  }
}
