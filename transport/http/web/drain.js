// Drain and undrain: what it would do is shown before it is done, and nothing is done to a controller that somebody else
// has decided about in the meantime.

import { APIError, drain, getController, transitions, undrain } from "./api.js";
import { openDialog } from "./dialog.js";
import { el, setText } from "./dom.js";
import { count, number } from "./format.js";

const deadlines = [["", "No deadline"], ["15", "15 minutes"], ["60", "1 hour"], ["240", "4 hours"], ["1440", "1 day"], ["custom", "Other…"]];
const longestMinutes = 60 * 24 * 365;

const reasonField = () => el("input", { type: "text", id: "reason", maxlength: "250", autocomplete: "off" });

// changedBy says who decided last, for somebody whose own decision came too late.
async function changedBy(id, generation) {
  const controller = await getController(id);
  if (controller.generation === generation) return { controller, who: "" };
  const { transitions: recent } = await transitions(id, 0, 20);
  const who = controller.drain?.by ?? recent.find((t) => t.cause === "operator")?.actor ?? "somebody else";
  return { controller, who };
}

export function openDrain(fleet, c, done) {
  let generation = c.generation;
  let planned = 0;
  const reason = reasonField();
  const deadline = el("select", { id: "deadline" }, ...deadlines.map(([value, label]) => el("option", { value }, label)));
  const minutes = el("input", { type: "number", id: "minutes", min: "1", max: String(longestMinutes), step: "1", value: "30" });
  const custom = el("p", { class: "field", hidden: true }, el("label", { for: "minutes" }, "Minutes"), minutes);
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const plan = el("div", { class: "plan", "aria-live": "polite" }, "Working out what this would do…");
  const anyway = el("input", { type: "checkbox", id: "force" });
  const force = el("p", { class: "force", hidden: true }, anyway, el("label", { for: "force" }, "Drain all the same"));
  const confirm = el("button", { type: "submit", class: "danger", disabled: true }, "Drain");
  let safe = false;
  const ready = (is) => { confirm.disabled = !is || !(safe || anyway.checked); };
  const fail = (text) => { setText(problem, text); problem.hidden = text === ""; };
  anyway.addEventListener("change", () => ready(true));
  deadline.addEventListener("change", () => { custom.hidden = deadline.value !== "custom"; });

  const order = (more) => {
    const span = Number(deadline.value === "custom" ? minutes.value : deadline.value);
    const at = deadline.value === "" ? null : new Date(fleet.asOf + span * 60000).toISOString();
    return { reason: reason.value.trim(), deadline: at, expected_generation: generation, ...more };
  };
  const conflict = async () => {
    const { controller, who } = await changedBy(c.controller_id, generation);
    generation = controller.generation;
    if (who !== "") fail(`In the meantime ${who} decided about this controller; it is ${controller.health} now. What a drain would do has been worked out anew.`);
    return who !== "";
  };
  const look = async () => {
    const mine = ++planned;
    ready(false);
    try {
      let answer;
      try {
        answer = await drain(c.controller_id, { dry_run: true, expected_generation: generation });
      } catch (err) {
        if (err.status !== 409 || !(await conflict())) throw err;
        answer = await drain(c.controller_id, { dry_run: true, expected_generation: generation });
      }
      if (mine !== planned) return;
      safe = answer.plan.safe;
      plan.replaceChildren(...planned_(answer));
      force.hidden = safe;
      anyway.checked = false;
      ready(true);
    } catch (err) {
      plan.replaceChildren();
      fail(inWords(err));
    }
  };
  const dialog = openDialog({
    title: `Drain ${c.controller_id}`,
    name: "drain",
    body: [
      el("p", {}, "It takes no new meetings, and keeps those that it holds until they end."),
      problem,
      el("p", { class: "field" }, el("label", { for: "reason" }, "Reason, for the history"), reason),
      el("p", { class: "field" }, el("label", { for: "deadline" }, "Deadline"), deadline),
      custom,
      plan,
      force,
    ],
    actions: [el("button", { type: "button", click: () => dialog.close() }, "Cancel"), confirm],
    onSubmit: async () => {
      if (!custom.hidden && !minutes.reportValidity()) return;
      fail("");
      ready(false);
      try {
        await drain(c.controller_id, order({ force: !safe && anyway.checked }));
        dialog.close();
        done(`${c.controller_id} drains.`);
      } catch (err) {
        if (err.status === 409) {
          const other = await conflict().catch(() => false);
          if (!other) fail(inWords(err));
          await look();
          return;
        }
        fail(inWords(err));
        ready(true);
      }
    },
  });
  look();
}

// planned_ shows a plan: what it touches, what is left, and what speaks against it.
function planned_({ plan: p, stale }) {
  const row = (what, { before, after }) => el("tr", {}, el("th", { scope: "row" }, what), el("td", {}, before), el("td", {}, after));
  const of = (capacity) => `${number(capacity.current)} of ${number(capacity.max)}`;
  const yes = (is) => (is ? "yes" : "no");
  const serving = (region) => number(region.healthy + region.degraded);
  const verdict = () => {
    if (!p.safe) return "× Not safe:";
    if (serving(p.before) === serving(p.after)) return "✓ Safe: it takes no meetings now, so nothing is taken away.";
    return "✓ Safe: the others can hold what runs, even without the largest of them.";
  };
  return [
    el("p", { class: "verdict", "data-survives": String(p.safe) }, verdict()),
    p.safe ? null : el("ul", { class: "reasons" }, ...p.reasons.map((reason) => el("li", {}, reason))),
    el("p", {}, `${count(p.meetings_affected, "meeting")} with ${count(p.participants_affected, "participant")} ${stale ? "ran on it when it fell silent; below they do not count." : "run on it."}`),
    el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, p.before.region), el("th", { scope: "col" }, "Before"), el("th", { scope: "col" }, "After"))),
      el("tbody", {},
        row("Take meetings", { before: serving(p.before), after: serving(p.after) }),
        row("Meetings", { before: of(p.before.meetings), after: of(p.after.meetings) }),
        row("Participants", { before: of(p.before.participants), after: of(p.after.participants) }),
        row("Survives its largest", { before: yes(p.before.survives_largest_loss), after: yes(p.after.survives_largest_loss) }))),
  ].filter(Boolean);
}

export function openUndrain(c, done) {
  let generation = c.generation;
  const reason = reasonField();
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const confirm = el("button", { type: "submit", class: "primary" }, "End the drain");
  const dialog = openDialog({
    title: `End the drain of ${c.controller_id}`,
    name: "undrain",
    body: [
      el("p", {}, "It takes meetings again as soon as it reports that it is healthy."),
      c.drain ? el("p", {}, `${c.drain.by} drains it`, c.drain.reason ? `: “${c.drain.reason}”` : ".") : null,
      problem,
      el("p", { class: "field" }, el("label", { for: "reason" }, "Reason, for the history"), reason),
    ],
    actions: [el("button", { type: "button", click: () => dialog.close() }, "Cancel"), confirm],
    onSubmit: async () => {
      confirm.disabled = true;
      try {
        await undrain(c.controller_id, reason.value.trim(), generation);
        dialog.close();
        done(`The drain of ${c.controller_id} has ended.`);
      } catch (err) {
        let text = inWords(err);
        if (err.status === 409) {
          const { controller, who } = await changedBy(c.controller_id, generation).catch(() => ({ who: "" }));
          if (who) {
            text = `In the meantime ${who} decided about this controller; it is ${controller.health} now. Look before you go on.`;
            generation = controller.generation;
          }
        }
        setText(problem, text);
        problem.hidden = false;
        confirm.disabled = false;
      }
    },
  });
}

const inWords = (err) => (err instanceof APIError ? err.message : "The server did not answer in time.");
