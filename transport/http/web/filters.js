// Filters has the filters and the order of the tiles, which are also in the page's address. An address never has the token.

import { getLoadRatio, states } from "./format.js";

// The delay is in milliseconds. To reorder 5,000 tiles takes a long frame, so an order by values that change all the time has small
// blocks and a long delay.
const stableOrder = { rowsPerBlock: 12, reorderDelay: 250, followsLoad: false };
const loadOrder = { rowsPerBlock: 4, reorderDelay: 3000, followsLoad: true };

export const orders = {
  region: {
    label: "Region",
    compare: (a, b) => compareText(a.region, b.region) || compareText(a.key, b.key),
    ...stableOrder,
  },
  id: {
    label: "Id",
    compare: (a, b) => compareText(a.key, b.key),
    ...stableOrder,
  },
  load: {
    label: "Highest load",
    compare: (a, b) => getLoadRatio(b) - getLoadRatio(a) || compareText(a.key, b.key),
    ...loadOrder,
  },
  "last-heartbeat": {
    label: "Oldest heartbeat",
    compare: (a, b) => a.lastHeartbeatAt - b.lastHeartbeatAt || compareText(a.key, b.key),
    ...loadOrder,
  },
};

// The keys of controllers are made for this comparison. An Intl.Collator would take a tenth of a second for 5,000 of them.
const compareText = (a, b) => (a === b ? 0 : a < b ? -1 : 1);

export class Filters {
  text = "";
  region = "";
  states = new Set();
  placeable = false; // only controllers that accept meetings
  order = "region";
  size = ""; // of the tiles: "small", "large" or "" (automatic)
  open = ""; // the id of the open controller

  // read takes the filters from an address, and ignores invalid values.
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

  toggleState(state) {
    if (!this.states.delete(state)) this.states.add(state);
  }

  clear() {
    this.text = this.region = "";
    this.states.clear();
    this.placeable = false;
  }

  matches(c) {
    return (
      (this.region === "" || c.region === this.region) &&
      (this.states.size === 0 || this.states.has(c.state)) &&
      (!this.placeable || c.placement.placeable) &&
      (this.text === "" || c.controller_id.toLowerCase().includes(this.text.toLowerCase()))
    );
  }

  get isActive() {
    return this.text !== "" || this.region !== "" || this.states.size > 0 || this.placeable;
  }
}
