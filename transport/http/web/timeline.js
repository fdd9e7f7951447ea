// Timeline shows the history of one controller, newest first. It reads the history in pages, and adds the transitions of the watch.

import { listTransitions } from "./api.js";
import { el, setText } from "./dom.js";
import { formatAge, formatSince, formatTime, signs } from "./format.js";

const pageSize = 30;
const causes = { register: "registered", heartbeat: "reported", operator: "ordered", stale: "marked stale", retired: "retired" };

// A controller that deregisters itself also has the cause "retired". The reason of a real retirement begins with this text of the
// service: TestTimelineModule_RetiredReasonMatchesService (web_test.go) compares them.
const retiredReason = "silent for longer than ";

export class Timeline {
  #before = 0; // the id before which the next page ends
  #newest = 0;
  #shownIDs = new Set();
  #isClosed = false;

  constructor(id, fleet) {
    this.id = id;
    this.fleet = fleet;
    this.list = el("ol", { class: "timeline", "aria-label": "History, newest first" });
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.moreButton = el("button", { type: "button", hidden: true, click: () => this.load() }, "Older");
    this.node = el("section", { class: "history" }, el("h3", {}, "History"), this.list, this.problem, this.moreButton);
  }

  async load() {
    this.moreButton.disabled = true;
    this.problem.hidden = true;

    try {
      const page = await listTransitions(this.id, this.#before, pageSize);
      if (this.#isClosed) return;

      for (const transition of page.transitions) this.#add(transition, "append");
      this.#before = page.next_before;
      this.moreButton.hidden = page.next_before === 0;
      setText(this.moreButton, "Older");
    } catch (err) {
      if (this.#isClosed) return;
      setText(this.problem, `The history could not be read. ${err.status === undefined ? "" : err.message}`);
      this.problem.hidden = false;
      this.moreButton.hidden = false;
      setText(this.moreButton, "Try again");
    } finally {
      this.moreButton.disabled = false;
    }
  }

  close() {
    this.#isClosed = true;
  }

  // apply adds the transitions of an update. After a snapshot the history may be another one, so it is read again.
  apply(update) {
    if (update.isSnapshot) {
      this.list.replaceChildren();
      this.#shownIDs.clear();
      this.#before = this.#newest = 0;
      this.load();
      return;
    }
    for (const transition of update.transitions) {
      if (transition.controller_id === this.id && transition.id > this.#newest) this.#add(transition, "prepend");
    }
  }

  refreshAges() {
    for (const node of this.list.querySelectorAll("time")) setText(node, formatSince(node.dateTime, this.fleet.asOf));
  }

  // add inserts a transition at one end: method is "append" or "prepend".
  #add(t, method) {
    // The watch may repeat a transition, and a page may hold it as well.
    if (this.#shownIDs.has(t.id)) return;
    this.#shownIDs.add(t.id);
    this.#newest = Math.max(this.#newest, t.id);

    const at = el("time", { datetime: t.at, title: formatTime(t.at) }, formatSince(t.at, this.fleet.asOf));
    this.list[method](el("li", { "data-state": t.to ?? "gone" },
      el("p", { class: "change" }, renderState(t.from) ?? "new", " → ", renderState(t.to) ?? "left the fleet", " ", at),
      el("p", { class: "about" }, describeCause(t)),
      t.reason ? el("p", { class: "reason" }, `“${t.reason}”`) : null));
  }
}

function renderState(state) {
  if (!state) return null;
  const sign = el("span", { class: "sign", "aria-hidden": "true" }, signs[state] ?? "?");
  return el("span", { class: "state", "data-state": state }, sign, ` ${state}`);
}

// describeCause returns a text such as "no heartbeat for 32 s; marked stale by gc-1".
export function describeCause(t) {
  if (t.cause === "retired" && !t.reason.startsWith(retiredReason)) {
    return `deregistered itself${t.actor ? ` as ${t.actor}` : ""}`;
  }
  const isSilent = t.cause === "stale" || t.cause === "retired";
  const silence = isSilent ? `no heartbeat for ${formatAge(t.silence_ms)}; ` : "";
  return `${silence}${causes[t.cause] ?? t.cause}${t.actor ? ` by ${t.actor}` : ""}`;
}
