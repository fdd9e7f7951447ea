// Fleet has the controllers, as the messages of the watch describe them. This module does not use the document.

import { chooseShownState } from "./format.js";

// These reasons against a placement follow from the load, which comes without reasons. The texts are those of the service:
// TestFleetModule_ReasonsMatchService (web_test.go) compares them.
const noMeetings = "it has reached max_meetings";
const noParticipants = "it has reached max_participants";

// At most this many transitions are kept for announcements. The timeline reads the history.
const maxTransitions = 2000;

// Messages of a lagging replica are a little older than those before them. If all messages are older for this time, in
// milliseconds, the store's clock was set back.
const clockSetBackAfter = 10000;

export class Fleet {
  controllers = new Map();
  // The store's clock in milliseconds, as of the latest message. Ages are relative to it, never to the browser's clock.
  asOf = NaN;
  #olderSince = NaN; // since when all messages are older than asOf; NaN if the latest is not
  #arriving = null; // the controllers of a snapshot that is not complete
  #changedIDs = new Set();
  #transitions = [];
  #isSnapshot = false;

  // onUpdate is called whenever there is an update to take.
  constructor(onUpdate) {
    this.onUpdate = onUpdate;
  }

  // receive applies a message of the watch. A "beat" has the store's time only.
  receive(type, data) {
    this.#setTime(Date.parse(data.as_of));
    if (type === "snapshot") this.#applySnapshot(data);
    else if (type === "changes") this.#applyChanges(data.changes);
    else if (type === "loads") this.#applyLoads(data.loads);
    this.onUpdate();
  }

  // setTime moves the clock to the time of a message. The clock moves back only if the store's clock was set back.
  #setTime(time) {
    if (Number.isNaN(time)) return;
    const now = performance.now();
    if (Number.isNaN(this.#olderSince) && time < this.asOf) this.#olderSince = now;
    if (time < this.asOf && now - this.#olderSince < clockSetBackAfter) return;
    this.asOf = time;
    this.#olderSince = NaN;
  }

  // abandonSnapshot drops a snapshot that is not complete. The fleet before it is still consistent.
  abandonSnapshot() {
    this.#arriving = null;
  }

  clear() {
    this.abandonSnapshot();
    for (const id of this.controllers.keys()) this.#changedIDs.add(id);
    this.controllers = new Map();
    this.asOf = this.#olderSince = NaN;
    this.#transitions = [];
    this.onUpdate();
  }

  // takeUpdate returns all changes since the last call. isSnapshot is true if a snapshot has replaced the fleet.
  takeUpdate() {
    const update = { changedIDs: this.#changedIDs, transitions: this.#transitions, isSnapshot: this.#isSnapshot };
    this.#changedIDs = new Set();
    this.#transitions = [];
    this.#isSnapshot = false;
    return update;
  }

  #applySnapshot(data) {
    if (data.begin) this.#arriving = new Map();
    if (!this.#arriving) return;
    for (const c of data.controllers ?? []) {
      addDerivedFields(c);
      this.#arriving.set(c.controller_id, c);
    }
    if (!data.end) return;

    for (const id of this.controllers.keys()) this.#changedIDs.add(id);
    for (const id of this.#arriving.keys()) this.#changedIDs.add(id);
    this.controllers = this.#arriving;
    this.#arriving = null;
    this.#isSnapshot = true;
  }

  #applyChanges(changes) {
    const controllers = this.#arriving ?? this.controllers;
    for (const { controller_id: id, controller, transition } of changes) {
      if (controller) {
        addDerivedFields(controller);
        controllers.set(id, controller);
      } else {
        controllers.delete(id);
      }
      this.#changedIDs.add(id);
      if (transition && this.#transitions.length < maxTransitions) this.#transitions.push(transition);
    }
  }

  #applyLoads(loads) {
    const controllers = this.#arriving ?? this.controllers;
    for (const load of loads) {
      const c = controllers.get(load.controller_id);
      if (!c) continue;
      c.current_meetings = load.current_meetings;
      c.current_participants = load.current_participants;
      c.cpu_usage_percent = load.cpu_usage_percent;
      c.memory_usage_percent = load.memory_usage_percent;
      c.last_heartbeat_at = load.last_heartbeat_at;
      c.drained = load.drained;
      c.lastHeartbeatAt = Date.parse(load.last_heartbeat_at);
      updatePlacement(c);
      this.#changedIDs.add(load.controller_id);
    }
  }
}

// addDerivedFields adds the state to show, the time of the last heartbeat, and the key for sorting.
function addDerivedFields(c) {
  c.state = chooseShownState(c.health);
  c.lastHeartbeatAt = Date.parse(c.last_heartbeat_at);
  // In the order of the keys mc-2 is before mc-10.
  c.key = c.controller_id.replace(/\d+/g, (digits) => digits.padStart(12, "0"));
}

// updatePlacement follows a change of the load.
function updatePlacement(c) {
  const isFullOfMeetings = c.current_meetings >= c.max_meetings;
  const isFullOfParticipants = c.current_participants >= c.max_participants;
  const { reasons } = c.placement;
  if (reasons.includes(noMeetings) === isFullOfMeetings && reasons.includes(noParticipants) === isFullOfParticipants) return;

  const updated = reasons.filter((reason) => reason !== noMeetings && reason !== noParticipants);
  if (isFullOfMeetings) updated.push(noMeetings);
  if (isFullOfParticipants) updated.push(noParticipants);
  c.placement = { placeable: updated.length === 0, reasons: updated };
}
