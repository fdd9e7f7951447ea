// One controller: all that is known of it, what can be done with it, and its history.

import { el, setAttribute, setText } from "./dom.js";
import { number, percent, signs, since, time, until } from "./format.js";
import { Timeline } from "./timeline.js";

const part = (current, max) => `${number(current)} of ${number(max)} (${percent(max > 0 ? current / max : 0)})`;
const measured = (value) => (value === null ? "not reported yet" : `${value.toFixed(1)} %`);

// The rows: a name, and the text to show or null for no row.
const rows = [
  ["Region", (c) => c.region],
  ["Meetings", (c) => part(c.current_meetings, c.max_meetings)],
  ["Participants", (c) => part(c.current_participants, c.max_participants)],
  ["CPU", (c) => measured(c.cpu_usage_percent)],
  ["Memory", (c) => measured(c.memory_usage_percent)],
  ["Last heartbeat", (c, asOf) => since(c.last_heartbeat_at, asOf), (c) => time(c.last_heartbeat_at)],
  ["Says of itself", (c) => c.reported_health],
  ["Silent", (c) => (c.stale ? "longer than it may be" : "no")],
  ["Registered", (c, asOf) => since(c.created_at, asOf), (c) => time(c.created_at)],
  ["gRPC", (c) => c.grpc_endpoint],
  ["WebTransport", (c) => c.webtransport_endpoint ?? "none"],
  ["Generation", (c) => number(c.generation)],
  ["Incarnation", (c) => c.incarnation ?? "not given"],
  ["Conflicts", (c) => (c.incarnation_conflicts > 0 ? number(c.incarnation_conflicts) : null)],
  ["Last conflict", (c, asOf) => (c.last_incarnation_conflict_at ? since(c.last_incarnation_conflict_at, asOf) : null)],
];

const drainRows = [
  ["Drained by", (c) => c.drain?.by ?? null],
  ["Reason", (c) => c.drain?.reason || null],
  ["Since", (c, asOf) => (c.drain ? since(c.drain.since, asOf) : null), (c) => time(c.drain.since)],
  ["Deadline", (c, asOf) => (c.drain?.deadline ? until(c.drain.deadline, asOf) : null), (c) => time(c.drain.deadline)],
  ["Drained", (c) => (c.health === "draining" ? (c.drained ? "yes" : c.drain?.deadline_passed ? "no, and the deadline has passed" : "not yet") : null)],
];

class Facts {
  constructor(of) {
    this.rows = of.map(([name, text, title]) => ({ text, title, name: el("dt", {}, name), value: el("dd") }));
    this.node = el("dl", { class: "facts" }, ...this.rows.flatMap(({ name, value }) => [name, value]));
  }

  show(c, asOf) {
    let any = false;
    for (const { name, value, text, title } of this.rows) {
      const shown = text(c, asOf);
      name.hidden = value.hidden = shown === null;
      if (shown === null) continue;
      any = true;
      setText(value, shown);
      if (title) setAttribute(value, "title", title(c));
    }
    this.node.hidden = !any;
  }
}

export class Detail {
  #id = "";

  constructor(node, fleet, { onClose, onOrder }) {
    Object.assign(this, { node, fleet, onClose, onOrder });
  }

  get id() { return this.#id; }

  open(id) {
    if (id === this.#id) return;
    this.#empty();
    this.#id = id;
    this.state = el("p", { class: "state" });
    this.placement = el("div", { class: "placement" });
    this.placed = null;
    this.drain = new Facts(drainRows);
    this.facts = new Facts(rows);
    this.order = el("button", { type: "button", class: "order", "aria-haspopup": "dialog", click: () => this.onOrder(id) });
    this.timeline = new Timeline(id, this.fleet);
    this.title = el("h2", { tabindex: "-1" });
    setText(this.title, id);
    this.node.replaceChildren(
      el("header", {}, this.title, el("button", { type: "button", class: "close", "aria-label": "Close", click: () => this.onClose() }, "×")),
      this.state, this.placement, this.order, this.drain.node, this.facts.node, this.timeline.node);
    this.node.setAttribute("aria-label", `Controller ${id}`);
    this.node.hidden = false;
    this.node.scrollTop = 0;
    this.show();
    this.timeline.load();
  }

  close() {
    this.#empty();
    this.node.hidden = true;
  }

  #empty() {
    this.timeline?.close();
    this.timeline = null;
    this.#id = "";
    this.node.replaceChildren();
  }

  focus() {
    this.title?.focus();
  }

  apply(news) {
    if (this.#id === "") return;
    this.timeline.apply(news);
    this.show();
  }

  // show draws the controller as it is now; ages grow even when nothing else changes.
  show() {
    if (this.#id === "") return;
    const c = this.fleet.controllers.get(this.#id);
    const { asOf } = this.fleet;
    for (const node of [this.placement, this.order, this.drain.node, this.facts.node]) node.hidden = !c;
    setAttribute(this.state, "data-state", c ? c.state : "gone");
    if (!c) {
      setText(this.state, "Not in the fleet");
      return;
    }
    setText(this.state, `${signs[c.state]} ${c.health}`);
    this.#place(c);
    setText(this.order, c.operator_draining ? "End the drain…" : "Drain…");
    this.drain.show(c, asOf);
    this.facts.show(c, asOf);
    this.timeline.refresh();
  }

  #place({ placement }) {
    const key = placement.reasons.join("\n");
    if (key === this.placed) return;
    this.placed = key;
    this.placement.replaceChildren(placement.placeable
      ? el("p", {}, "It can be given new meetings.")
      : el("p", {}, "It cannot be given new meetings:"), placement.placeable ? "" : el("ul", {}, ...placement.reasons.map((reason) => el("li", {}, reason))));
  }
}
