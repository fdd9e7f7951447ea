// Sums over the fleet by the rules of service/region.go: healthy and degraded controllers are serving, and the load of
// stale ones does not count. TestSumRegions_RandomFleetsMatchService (tools/browser) compares the two.

import { states } from "./format.js";

// Capacity has the sums of one limit and of its use.
class Capacity {
  max = 0; // of the serving controllers
  largest = 0;
  current = 0;

  // The headroom after the loss of the largest controller.
  get freeWithoutLargest() { return this.max - this.largest - this.current; }

  add({ isServing, stale, max, current }) {
    if (isServing) {
      this.max += max;
      this.largest = Math.max(this.largest, max);
    }
    if (!stale) this.current += current;
  }
}

// Region has the sums of one region, and its number of controllers in each state.
export class Region {
  meetings = new Capacity();
  participants = new Capacity();
  total = 0;

  constructor(name) {
    this.name = name;
    for (const state of states) this[state] = 0;
  }

  add(c) {
    this.total++;
    this[c.state]++;
    const { stale } = c;
    const isServing = c.state === "healthy" || c.state === "degraded";
    this.meetings.add({ isServing, stale, max: c.max_meetings, current: c.current_meetings });
    this.participants.add({ isServing, stale, max: c.max_participants, current: c.current_participants });
  }

  get serving() { return this.healthy + this.degraded; }

  get survivesLargestLoss() {
    return this.serving > 0 && this.meetings.freeWithoutLargest >= 0 && this.participants.freeWithoutLargest >= 0;
  }
}

// sumRegions returns the regions of the controllers, in the order of their names.
export function sumRegions(controllers) {
  const regions = new Map();
  for (const c of controllers) {
    let region = regions.get(c.region);
    if (!region) {
      region = new Region(c.region);
      regions.set(c.region, region);
    }
    region.add(c);
  }
  return [...regions.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}
