/** Keeps the operator's page up to date: asks for its figures again every few seconds, as long as somebody sees it. */

/** Milliseconds between two looks. */
export const LOOK_AGAIN = 3_000;

/**
 * Bring what is shown up to date, once.
 *
 * @param {Document} page
 * @param {typeof fetch} ask
 * @returns {Promise<boolean>} false when there is nothing more to ask for: who looks may not see the figures any more
 */
export async function refresh(page, ask) {
  const figures = page.getElementById("figures");
  const answer = await ask(figures.dataset.address, { credentials: "same-origin" }).catch(() => null);
  if (answer?.redirected) {
    return false;
  }
  const text = answer?.ok ? await answer.text().catch(() => null) : null;
  const stale = page.getElementById("stale");
  if (text === null) {
    const shown = figures.querySelector("time");
    stale.querySelector("[data-stale-since]").textContent = shown ? shown.textContent : "before";
    stale.hidden = false;
    return true;
  }
  stale.hidden = true;
  replace(figures, text);
  return true;
}

/** The table's place is kept: it can be wider than the screen. */
function replace(figures, text) {
  const before = [...figures.querySelectorAll(".table-card")].map((card) => card.scrollLeft);
  figures.innerHTML = text;
  figures.querySelectorAll(".table-card").forEach((card, index) => {
    card.scrollLeft = before[index] ?? 0;
  });
}

async function watch() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
    await untilVisible();
    if (!(await refresh(document, fetch))) {
      location.reload(); // to log in again
      return;
    }
  }
}

function untilVisible() {
  return new Promise((resolve) => {
    if (!document.hidden) {
      resolve();
      return;
    }
    document.addEventListener("visibilitychange", () => resolve(), { once: true });
  });
}

if (typeof document !== "undefined") {
  watch();
}
