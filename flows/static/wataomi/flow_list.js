/** Shows on the list of flows how each one's newest run stands, and keeps those under way up to date. */

import { get } from "./api.js";
import { RUN_ENDED } from "./fold.js";
import { formatDuration } from "./format.js";

/** Milliseconds between two looks at a run that is under way. */
const LOOK_AGAIN = 2_000;

async function show(row) {
  const { results } = await get(`flows/${row.dataset.flow}/executions?page_size=1`);
  const [execution] = results;
  const element = row.querySelector(".flow-run");
  element.hidden = false;
  element.dataset.status = execution?.status ?? "idle";
  element.querySelector("[data-run-status]").textContent = execution?.status ?? "not run yet";
  element.querySelector("[data-run-duration]").textContent = formatDuration(execution?.duration_ms ?? NaN);
  element.querySelector("[data-run-when]").textContent = execution ? ago(execution.created_at) : "";
  return execution !== undefined && !RUN_ENDED.has(execution.status);
}

/** A hidden page asks nothing; it goes on where it stopped when it is looked at again. */
async function watch(row) {
  while (await show(row).catch(() => true)) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
    await untilVisible();
  }
}

function untilVisible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];

function ago(timestamp) {
  const seconds = Math.max(0, (Date.now() - Date.parse(timestamp)) / 1000);
  if (seconds < 5) return "just now";
  const [unit, size] = UNITS.find(([, each]) => seconds >= each);
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.floor(seconds / size), unit);
}

for (const time of document.querySelectorAll(".flow-facts time")) time.textContent = ago(time.dateTime);
for (const row of document.querySelectorAll("[data-flow]")) watch(row);
