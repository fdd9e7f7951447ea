// The fleet as the watch tells it. Nothing here knows the document.

import { known } from "./format.js";

// What a report of load alone can change about why a controller is not placeable; the words are the service's.
const noMeetings = "it holds as many meetings as it may";
const noParticipants = "it holds as many participants as it may";

// More changes of state than this are not kept for whoever draws next: they are for announcements, and the timeline reads
// the history.
const keptTransitions = 2000;
// Messages of replicas that lag a little are older than what is shown. Only when all have been older for so long, in
// milliseconds by a clock that is never set, the store's clock was set back, and the ages go by it again.
const setBackAfter = 10000;

export class Fleet {
  controllers = new Map();
  // The store's clock in milliseconds, as of the last message. Ages are counted from it, never from the browser's clock.
  asOf = NaN;
  #olderSince = NaN;
  #arriving = null;
  #changed = new Set();
  #transitions = [];
  #whole = false;

  // onNews is called whenever there is something to take.
  constructor(onNews) {
    this.onNews = onNews;
  }

  // receive takes one message of the watch.
  receive(type, data) {
    this.#date(Date.parse(data.as_of));
    if (type === "snapshot") this.#snapshot(data);
    else if (type === "changes") this.#changes(data.changes);
    else if (type === "loads") this.#loads(data.loads);
    this.onNews();
  }

  // date moves the clock to the time of a message. It does not go back, unless the store's own clock did: it would stand
  // still until that has caught up, and show ages that are too long by as much.
  #date(at) {
    if (Number.isNaN(at)) return;
    const now = performance.now();
    if (Number.isNaN(this.#olderSince) && at < this.asOf) this.#olderSince = now;
    if (at < this.asOf && now - this.#olderSince < setBackAfter) return;
    this.asOf = at;
    this.#olderSince = NaN;
  }

  // abandon forgets a snapshot that did not come to its end. What was there before it is still consistent.
  abandon() {
    this.#arriving = null;
  }

  // forget empties the fleet, for somebody else's eyes.
  forget() {
    this.abandon();
    for (const id of this.controllers.keys()) this.#changed.add(id);
    this.controllers = new Map();
    this.asOf = this.#olderSince = NaN;
    this.#transitions = [];
    this.onNews();
  }

  // take returns what is new since it was last called: the ids of what changed, came or left, and the changes of state.
  take() {
    const news = { changed: this.#changed, transitions: this.#transitions, whole: this.#whole };
    this.#changed = new Set();
    this.#transitions = [];
    this.#whole = false;
    return news;
  }

  #snapshot(data) {
    if (data.begin) this.#arriving = new Map();
    if (!this.#arriving) return;
    for (const c of data.controllers ?? []) this.#arriving.set(c.controller_id, prepared(c));
    if (!data.end) return;
    for (const id of this.controllers.keys()) this.#changed.add(id);
    for (const id of this.#arriving.keys()) this.#changed.add(id);
    this.controllers = this.#arriving;
    this.#arriving = null;
    this.#whole = true;
  }

  #changes(changes) {
    const into = this.#arriving ?? this.controllers;
    for (const change of changes) {
      const id = change.controller_id;
      if (change.controller) into.set(id, prepared(change.controller));
      else into.delete(id);
      this.#changed.add(id);
      if (change.transition && this.#transitions.length < keptTransitions) this.#transitions.push(change.transition);
    }
  }

  #loads(loads) {
    const into = this.#arriving ?? this.controllers;
    for (const load of loads) {
      const c = into.get(load.controller_id);
      if (!c) continue;
      c.current_meetings = load.current_meetings;
      c.current_participants = load.current_participants;
      c.cpu_usage_percent = load.cpu_usage_percent;
      c.memory_usage_percent = load.memory_usage_percent;
      c.last_heartbeat_at = load.last_heartbeat_at;
      c.drained = load.drained;
      c.heardAt = Date.parse(load.last_heartbeat_at);
      place(c);
      this.#changed.add(load.controller_id);
    }
  }
}

// prepared adds what is asked for often.
function prepared(c) {
  c.state = known(c.health);
  c.heardAt = Date.parse(c.last_heartbeat_at);
  // In the order of the keys mc-2 comes before mc-10.
  c.key = c.controller_id.replace(/\d+/g, (digits) => digits.padStart(12, "0"));
  return c;
}

// place works out anew what the load alone decides.
function place(c) {
  const fullMeetings = c.current_meetings >= c.max_meetings;
  const fullParticipants = c.current_participants >= c.max_participants;
  const { reasons } = c.placement;
  if (reasons.includes(noMeetings) === fullMeetings && reasons.includes(noParticipants) === fullParticipants) return;
  const others = reasons.filter((reason) => reason !== noMeetings && reason !== noParticipants);
  if (fullMeetings) others.push(noMeetings);
  if (fullParticipants) others.push(noParticipants);
  c.placement = { placeable: others.length === 0, reasons: others };
}
