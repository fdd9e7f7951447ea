// The panel of one controller: its fields, its drain button and its history.

import { el, setAttribute, setText } from "./dom.js";
import { divide, formatNumber, formatPercent, formatSince, formatTime, formatUntil, formatUse, signs } from "./format.js";
import { Timeline } from "./timeline.js";

const formatUseAndRatio = (current, max) => `${formatUse(current, max)} (${formatPercent(divide(current, max))})`;
const formatUsage = (value) => (value === null ? "not reported yet" : `${value.toFixed(1)} %`);

// A row has a name, a function for its text and one for its title. A row whose text is null is hidden.
const fieldRows = [
  ["Region", (c) => c.region],
  ["Meetings", (c) => formatUseAndRatio(c.current_meetings, c.max_meetings)],
  ["Participants", (c) => formatUseAndRatio(c.current_participants, c.max_participants)],
  ["CPU", (c) => formatUsage(c.cpu_usage_percent)],
  ["Memory", (c) => formatUsage(c.memory_usage_percent)],
  ["Last heartbeat", (c, asOf) => formatSince(c.last_heartbeat_at, asOf), (c) => formatTime(c.last_heartbeat_at)],
  ["Reported state", (c) => c.reported_health],
  ["Stale", (c) => (c.stale ? "yes: no heartbeat in time" : "no")],
  ["Registered", (c, asOf) => formatSince(c.created_at, asOf), (c) => formatTime(c.created_at)],
  ["gRPC", (c) => c.grpc_endpoint],
  ["WebTransport", (c) => c.webtransport_endpoint ?? "none"],
  ["Generation", (c) => formatNumber(c.generation)],
  ["Incarnation", (c) => c.incarnation ?? "not reported"],
  ["Conflicts", (c) => (c.incarnation_conflicts > 0 ? formatNumber(c.incarnation_conflicts) : null)],
  ["Last conflict", (c, asOf) => (c.last_incarnation_conflict_at ? formatSince(c.last_incarnation_conflict_at, asOf) : null)],
];

const drainRows = [
  ["Drain started by", (c) => c.drain?.by ?? null],
  ["Reason", (c) => c.drain?.reason || null],
  ["Since", (c, asOf) => (c.drain ? formatSince(c.drain.since, asOf) : null), (c) => formatTime(c.drain.since)],
  ["Deadline", (c, asOf) => (c.drain?.deadline ? formatUntil(c.drain.deadline, asOf) : null), (c) => formatTime(c.drain.deadline)],
  ["Drained", (c) => (c.health === "draining" ? drainProgress(c) : null)],
];

function drainProgress(c) {
  if (c.drained) return "yes";
  return c.drain?.deadline_passed ? "no, and the deadline has passed" : "not yet";
}

class FieldList {
  constructor(rows) {
    this.rows = rows.map(([name, text, title]) => ({ text, title, name: el("dt", {}, name), value: el("dd") }));
    this.node = el("dl", { class: "facts" }, ...this.rows.flatMap(({ name, value }) => [name, value]));
  }

  show(c, asOf) {
    let hasRow = false;
    for (const { name, value, text, title } of this.rows) {
      const shown = text(c, asOf);
      name.hidden = value.hidden = shown === null;
      if (shown === null) continue;
      hasRow = true;
      setText(value, shown);
      if (title) setAttribute(value, "title", title(c));
    }
    this.node.hidden = !hasRow;
  }
}

export class Detail {
  #id = ""; // empty: the panel is closed

  // onClose is called for the close button, onDrain with the id for the drain button.
  constructor(node, fleet, { onClose, onDrain }) {
    Object.assign(this, { node, fleet, onClose, onDrain });
  }

  get id() { return this.#id; }

  open(id) {
    if (id === this.#id) return;
    this.#clear();
    this.#id = id;

    this.state = el("p", { class: "state" });
    this.placement = el("div", { class: "placement" });
    this.shownPlacement = null;
    this.drainFields = new FieldList(drainRows);
    this.fields = new FieldList(fieldRows);
    this.drainButton = el("button", { type: "button", class: "drain-button", "aria-haspopup": "dialog", click: () => this.onDrain(id) });
    this.timeline = new Timeline(id, this.fleet);
    this.title = el("h2", { tabindex: "-1" });
    setText(this.title, id);

    const closeButton = el("button", { type: "button", class: "close", "aria-label": "Close", click: () => this.onClose() }, "×");
    this.node.replaceChildren(
      el("header", {}, this.title, closeButton),
      this.state, this.placement, this.drainButton, this.drainFields.node, this.fields.node, this.timeline.node);
    this.node.setAttribute("aria-label", `Controller ${id}`);
    this.node.hidden = false;
    this.node.scrollTop = 0;

    this.show();
    this.timeline.load();
  }

  close() {
    this.#clear();
    this.node.hidden = true;
  }

  #clear() {
    this.timeline?.close();
    this.timeline = null;
    this.#id = "";
    this.node.replaceChildren();
  }

  focus() {
    this.title?.focus();
  }

  apply(update) {
    if (this.#id === "") return;
    this.timeline.apply(update);
    this.show();
  }

  // show draws the present state of the controller. Its ages change even if nothing else does.
  show() {
    if (this.#id === "") return;
    const c = this.fleet.controllers.get(this.#id);
    const { asOf } = this.fleet;

    for (const node of [this.placement, this.drainButton, this.drainFields.node, this.fields.node]) node.hidden = !c;
    setAttribute(this.state, "data-state", c ? c.state : "gone");
    if (!c) {
      setText(this.state, "Not in the fleet");
      return;
    }

    setText(this.state, `${signs[c.state]} ${c.health}`);
    this.#showPlacement(c);
    setText(this.drainButton, c.operator_draining ? "End the drain…" : "Drain…");
    this.drainFields.show(c, asOf);
    this.fields.show(c, asOf);
    this.timeline.refreshAges();
  }

  #showPlacement({ placement }) {
    const key = placement.reasons.join("\n");
    if (key === this.shownPlacement) return;
    this.shownPlacement = key;

    if (placement.placeable) {
      this.placement.replaceChildren(el("p", {}, "Accepts new meetings."));
      return;
    }
    const reasons = placement.reasons.map((reason) => el("li", {}, reason));
    this.placement.replaceChildren(el("p", {}, "Accepts no new meetings:"), el("ul", {}, ...reasons));
  }
}
