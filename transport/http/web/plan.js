// The plan of a drain: verdict, reasons, affected meetings, and the region before and after.

import { el } from "./dom.js";
import { formatCount, formatNumber, formatUse } from "./format.js";

const formatServing = (region) => formatNumber(region.healthy + region.degraded);
const formatYesNo = (value) => (value ? "yes" : "no");

// renderPlan returns the elements of a plan. stale reports whether the controller is stale.
export function renderPlan({ plan, stale }) {
  const verdict = el("p", { class: "verdict", "data-survives": String(plan.safe) }, describeVerdict(plan));
  const reasons = plan.safe ? null : el("ul", { class: "reasons" }, ...plan.reasons.map((reason) => el("li", {}, reason)));
  return [verdict, reasons, el("p", {}, describeAffected(plan, stale)), renderTable(plan)].filter(Boolean);
}

function describeVerdict(plan) {
  if (!plan.safe) return "× Not safe:";
  return formatServing(plan.before) === formatServing(plan.after)
    ? "✓ Safe: the controller is not serving now, so the region loses no capacity."
    : "✓ Safe: the other controllers can hold all running meetings, even if the largest of them fails.";
}

function describeAffected(plan, stale) {
  const affected = `${formatCount(plan.meetings_affected, "meeting")} with ${formatCount(plan.participants_affected, "participant")}`;
  return stale ? `${affected} ran on it at its last heartbeat. The table does not count them.` : `${affected} run on it.`;
}

function renderTable({ before, after }) {
  const head = el("tr", {}, ...[before.region, "Before", "After"].map((title) => el("th", { scope: "col" }, title)));
  const row = (name, format) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, format(before)), el("td", {}, format(after)));
  return el("table", {}, el("thead", {}, head), el("tbody", {},
    row("Serving controllers", formatServing),
    row("Meetings", ({ meetings }) => formatUse(meetings.current, meetings.max)),
    row("Participants", ({ participants }) => formatUse(participants.current, participants.max)),
    row("Survives the loss of its largest controller", (region) => formatYesNo(region.survives_largest_loss))));
}
