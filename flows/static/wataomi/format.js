/** How numbers are written for people: durations and counts. Pure. */

/**
 * A duration: "350 ms", "2.0 s", "1 m 05 s", "2 h 07 m"; "" for none.
 *
 * @param {?number} milliseconds
 */
export function formatDuration(milliseconds) {
  if (!Number.isFinite(milliseconds)) return "";
  const whole = Math.max(0, Math.round(milliseconds));
  return whole < 1000 ? `${whole} ms` : formatSeconds(whole);
}

/** A duration that is still growing: in seconds from the start, so that the unit does not jump. */
export function formatElapsed(milliseconds) {
  if (!Number.isFinite(milliseconds)) return "";
  return formatSeconds(Math.max(0, milliseconds));
}

function formatSeconds(milliseconds) {
  // Rounded before the unit is chosen: 59.96 s is "1 m 00 s", never "60.0 s".
  const tenths = Math.round(milliseconds / 100);
  if (tenths < 600) return `${(tenths / 10).toFixed(1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${twoDigits(seconds % 60)} s`;
  const minutes = Math.round(milliseconds / 60_000);
  return `${Math.floor(minutes / 60)} h ${twoDigits(minutes % 60)} m`;
}

const twoDigits = (number) => String(number).padStart(2, "0");

/** A moment: "2026-11-25 16:00:05 UTC"; "" for none. @param {?string} iso in UTC, as events write it */
export function formatMoment(iso) {
  return iso ? `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC` : "";
}

/** What a node waits for: "until 2026-11-25 16:00:05 UTC", or "until it is resumed"; "" when it does not wait for that. */
export function formatWait({ status, waitUntil, willRetryAt }) {
  if (status !== "waiting" || willRetryAt) return "";
  return waitUntil ? `until ${formatMoment(waitUntil)}` : "until it is resumed";
}

/** A count with its noun: "1 item", "1,200 items". */
export function formatCount(count, noun, plural = `${noun}s`) {
  return `${count.toLocaleString("en-US")} ${count === 1 ? noun : plural}`;
}

/** How many items a node delivered, over all its ports: "3 items"; "" when it delivered to none. */
export function formatItemCounts(itemCounts) {
  if (!itemCounts || Object.keys(itemCounts).length === 0) return "";
  const total = Object.values(itemCounts).reduce((sum, count) => sum + count, 0);
  return formatCount(total, "item");
}
