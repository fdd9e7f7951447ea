// How numbers, times and states are written.

const numbers = new Intl.NumberFormat("en");
export const number = (n) => numbers.format(n);
export const percent = (ratio) => `${Math.round(ratio * 100)} %`;
export const count = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

// The states in the order of their numbers on the wire, each with a sign that needs no colour.
export const states = ["pending", "healthy", "degraded", "unhealthy", "draining"];
export const signs = { pending: "…", healthy: "✓", degraded: "!", unhealthy: "×", draining: "↓" };
// A state that this page does not know is shown as what must not be overlooked.
export const known = (state) => (state in signs ? state : "unhealthy");

// age writes a span of milliseconds. What lies in the future, as clocks of two answers may have it, is now.
export function age(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} days`;
}

const clock = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium", timeZone: "UTC" });
export const time = (text) => `${clock.format(new Date(text))} UTC`;

// since is a time of the store's and how long that was before asOf, which is the store's as well.
export const since = (text, asOf) => `${age(asOf - Date.parse(text))} ago`;
export const until = (text, asOf) => (Date.parse(text) > asOf ? `in ${age(Date.parse(text) - asOf)}` : `${age(asOf - Date.parse(text))} ago`);

// load is how full a controller is, by that of its two limits which it is nearer to.
export function load(controller) {
  return Math.max(ratio(controller.current_meetings, controller.max_meetings), ratio(controller.current_participants, controller.max_participants));
}

const ratio = (current, max) => (max > 0 ? current / max : 0);
