/** Work that is done at most once a frame, however often it is asked for. */

/**
 * A function that has `work` done in the next frame, once, however often it is called before. Its `flush()` does at
 * once what is due.
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
