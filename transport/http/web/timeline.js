// One controller's history, the newest first: read in pages, and gone on with live.

import { transitions } from "./api.js";
import { el } from "./dom.js";
import { age, since, signs, time } from "./format.js";

const pageSize = 30;
const causes = { register: "registered", heartbeat: "heartbeat", stale: "no heartbeat", operator: "operator", retired: "retired" };

export class Timeline {
  #before = 0;
  #seen = new Set();
  #newest = 0;
  #aborted = false;

  constructor(id, fleet) {
    this.id = id;
    this.fleet = fleet;
    this.list = el("ol", { class: "timeline", "aria-label": "History, the newest first" });
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.more = el("button", { type: "button", hidden: true, click: () => this.load() }, "Older");
    this.node = el("section", { class: "history" }, el("h3", {}, "History"), this.list, this.problem, this.more);
  }

  // load reads the next page.
  async load() {
    this.more.disabled = true;
    this.problem.hidden = true;
    try {
      const page = await transitions(this.id, this.#before, pageSize);
      if (this.#aborted) return;
      for (const t of page.transitions) this.#add(t, "append");
      this.#before = page.next_before;
      this.more.hidden = page.next_before === 0;
      this.more.textContent = "Older";
    } catch (err) {
      if (this.#aborted) return;
      this.problem.textContent = `The history cannot be read. ${err.status === undefined ? "" : err.message}`;
      this.problem.hidden = false;
      this.more.hidden = false;
      this.more.textContent = "Try again";
    } finally {
      this.more.disabled = false;
    }
  }

  close() {
    this.#aborted = true;
  }

  // apply adds the changes that the watch brings. After a snapshot the history may be another one: it is read again.
  apply(news) {
    if (news.whole) {
      this.list.replaceChildren();
      this.#seen.clear();
      this.#before = this.#newest = 0;
      this.load();
      return;
    }
    for (const t of news.transitions) if (t.controller_id === this.id && t.id > this.#newest) this.#add(t, "prepend");
  }

  // refresh writes how long ago everything was.
  refresh() {
    for (const node of this.list.querySelectorAll("time")) {
      const text = since(node.dateTime, this.fleet.asOf);
      if (node.textContent !== text) node.textContent = text;
    }
  }

  #add(t, where) {
    // The watch may tell something twice, and the page that is read may hold it too.
    if (this.#seen.has(t.id)) return;
    this.#seen.add(t.id);
    this.#newest = Math.max(this.#newest, t.id);
    const state = (of) => (of ? el("span", { class: "state", "data-state": of }, el("span", { class: "sign", "aria-hidden": "true" }, signs[of] ?? "?"), ` ${of}`) : null);
    const about = [causes[t.cause] ?? t.cause, t.actor ? `by ${t.actor}` : "", t.cause === "stale" ? `silent for ${age(t.silence_ms)}` : ""].filter(Boolean).join(", ");
    this.list[where](el("li", { "data-state": t.to ?? "gone" },
      el("p", { class: "change" }, state(t.from) ?? "new", " → ", state(t.to) ?? "left the fleet", " ", el("time", { datetime: t.at, title: time(t.at) }, since(t.at, this.fleet.asOf))),
      el("p", { class: "about" }, about),
      t.reason ? el("p", { class: "reason" }, `“${t.reason}”`) : null));
  }
}
