// The header of the page: the size of the fleet, and whether the page is up to date.

import { byID, setAttribute, setText } from "./dom.js";
import { formatCount } from "./format.js";

const connectionTexts = {
  off: () => "Not connected",
  connecting: () => "Connecting…",
  live: () => "Live",
  stalled: ({ seconds }) => `No response from the store for ${seconds} s: the page may be out of date`,
  waiting: ({ cause }) => `Reconnecting. ${cause}`,
};

export function showConnection(state, details) {
  setAttribute(byID("connection"), "data-state", state);
  setText(byID("connection-text"), connectionTexts[state](details));
}

export function showTotals(regions) {
  const total = regions.reduce((sum, region) => sum + region.total, 0);
  const unhealthy = regions.reduce((sum, region) => sum + region.unhealthy, 0);
  setText(byID("totals"), total > 0 ? `${formatCount(total, "controller")} in ${formatCount(regions.length, "region")}` : "");

  // The title shows unhealthy controllers while the tab is in the background.
  const title = unhealthy > 0 ? `(${unhealthy}) Global Controller` : "Global Controller";
  if (document.title !== title) document.title = title;
}
