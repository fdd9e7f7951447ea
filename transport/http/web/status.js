// The head of the page: how large the fleet is, and whether what is shown is live.

import { byID, setAttribute, setText } from "./dom.js";
import { count } from "./format.js";

const words = {
  off: () => "Not connected",
  connecting: () => "Connecting…",
  live: () => "Live",
  silent: ({ seconds }) => `Store silent for ${seconds} s: what is shown may be old`,
  waiting: ({ why }) => `Reconnecting. ${why}`,
};

export function showConnection(state, about) {
  setAttribute(byID("connection"), "data-state", state);
  setText(byID("connection-text"), words[state](about));
}

export function showTotals(regions) {
  const total = regions.reduce((sum, region) => sum + region.total, 0);
  const bad = regions.reduce((sum, region) => sum + region.unhealthy, 0);
  setText(byID("totals"), total > 0 ? `${count(total, "controller")} in ${count(regions.length, "region")}` : "");
  // A tab in the background says that something is wrong, too.
  const title = bad > 0 ? `(${bad}) Global Controller` : "Global Controller";
  if (document.title !== title) document.title = title;
}
