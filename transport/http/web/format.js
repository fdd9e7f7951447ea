// Formats of numbers, times and states.

const numberFormat = new Intl.NumberFormat("en");
export const formatNumber = (n) => numberFormat.format(n);
export const formatUse = (current, max) => `${formatNumber(current)} of ${formatNumber(max)}`;
export const formatPercent = (ratio) => `${Math.round(ratio * 100)} %`;
export const formatCount = (n, one, many = `${one}s`) => `${formatNumber(n)} ${n === 1 ? one : many}`;

// The states are in the order of their numbers on the wire. Each has a sign, so that its colour is not needed to recognize it.
export const states = ["pending", "healthy", "degraded", "unhealthy", "draining"];
export const signs = { pending: "…", healthy: "✓", degraded: "!", unhealthy: "×", draining: "↓" };

// chooseShownState returns the state to show. An unknown state is shown as unhealthy, so that an operator notices it.
export const chooseShownState = (state) => (state in signs ? state : "unhealthy");

// formatAge formats a time span in milliseconds. A negative span is shown as 0 s: the clocks of two responses may differ a little.
export function formatAge(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} days`;
}

const timeFormat = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium", timeZone: "UTC" });
export const formatTime = (time) => `${timeFormat.format(new Date(time))} UTC`;

// formatSince and formatUntil format the distance of a time to asOf. Both are times of the store's clock.
export const formatSince = (time, asOf) => `${formatAge(asOf - Date.parse(time))} ago`;
export const formatUntil = (time, asOf) => (Date.parse(time) > asOf ? `in ${formatAge(Date.parse(time) - asOf)}` : formatSince(time, asOf));

export const divide = (current, max) => (max > 0 ? current / max : 0);

// getLoadRatio returns which part of a controller's capacity is in use, by the fuller one of its two limits.
export function getLoadRatio(c) {
  return Math.max(divide(c.current_meetings, c.max_meetings), divide(c.current_participants, c.max_participants));
}
