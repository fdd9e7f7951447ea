// Sums over the fleet, by the rules of service/region.go: those serve that are healthy or degraded, and what runs on one
// that is stale does not count.

import { states } from "./format.js";

class Capacity {
  max = 0;
  current = 0;
  largest = 0;
  get freeWithoutLargest() { return this.max - this.largest - this.current; }
}

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
    const serves = c.state === "healthy" || c.state === "degraded";
    sum(this.meetings, serves, c.stale, c.max_meetings, c.current_meetings);
    sum(this.participants, serves, c.stale, c.max_participants, c.current_participants);
  }

  get serving() { return this.healthy + this.degraded; }

  get survivesLargestLoss() {
    return this.serving > 0 && this.meetings.freeWithoutLargest >= 0 && this.participants.freeWithoutLargest >= 0;
  }
}

function sum(capacity, serves, stale, max, current) {
  if (serves) {
    capacity.max += max;
    capacity.largest = Math.max(capacity.largest, max);
  }
  if (!stale) capacity.current += current;
}

// regionsOf adds up the whole fleet, which takes less than a millisecond for 5,000 controllers.
export function regionsOf(controllers) {
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
