/** Work that is done at most once a frame, however often it is asked for. */

/**
 * A function that does `work` in the next frame; asked for again before, it does it once. `flush()` does what is due now.
 *
 * A hidden page has no frames: there, and outside a browser, a timer stands in for them.
 */
export function inNextFrame(work) {
  let cancel = null;
  const flush = () => {
    if (!cancel) return;
    cancel();
    cancel = null;
    work();
  };
  const ask = () => {
    cancel ??= requestFrame(flush);
  };
  ask.flush = flush;
  ask.drop = () => {
    cancel?.();
    cancel = null;
  };
  return ask;
}

function requestFrame(work) {
  const timer = setTimeout(work, HIDDEN_FRAME);
  if (typeof requestAnimationFrame !== "function") return () => clearTimeout(timer);
  // Both, for a page may be hidden between the request and the frame: whichever comes first.
  const frame = requestAnimationFrame(work);
  return () => {
    clearTimeout(timer);
    cancelAnimationFrame(frame);
  };
}

/** Milliseconds. */
const HIDDEN_FRAME = 100;
