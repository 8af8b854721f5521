/**
 * Server-sent events: an incremental parser over bytes, and a client that does not give up where `EventSource` does.
 *
 * Source of the rules: the HTML standard, section 9.2 (https://html.spec.whatwg.org/multipage/server-sent-events.html).
 */

/**
 * Reads a stream of bytes that may be cut anywhere (9.2.6). An event that the end of the stream cut off is never
 * delivered, and its id is not adopted: `lastEventId` is what a client resumes behind.
 */
export class EventStreamParser {
  #decoder = new TextDecoder("utf-8"); // drops one byte order mark at the start
  #rest = ""; // a line that has not ended yet
  #endedWithReturn = false; // the last piece ended with CR: an LF that comes next belongs to it
  #data = [];
  #type = "";
  #pendingId;
  #onMessage;
  #onRetry;

  /**
   * @param {{onMessage: (message: {data: string, type: string, lastEventId: string}) => void,
   *          onRetry?: (milliseconds: number) => void, lastEventId?: string}} options
   *   `lastEventId` is where an earlier connection of the same client stopped.
   */
  constructor({ onMessage, onRetry = () => {}, lastEventId = "" }) {
    this.#onMessage = onMessage;
    this.#onRetry = onRetry;
    this.#pendingId = lastEventId;
    this.lastEventId = lastEventId;
  }

  /** @param {Uint8Array} bytes */
  push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return;
    if (this.#endedWithReturn && text.startsWith("\n")) text = text.slice(1);
    this.#endedWithReturn = text === "" ? false : text.endsWith("\r");
    const lines = text.split(/\r\n|\n|\r/);
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop();
    lines.forEach((line) => this.#readLine(line));
  }

  #readLine(line) {
    if (line === "") {
      this.#dispatch();
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment
    if (colon === -1) {
      this.#readField(line, "");
      return;
    }
    const start = line[colon + 1] === " " ? colon + 2 : colon + 1;
    this.#readField(line.slice(0, colon), line.slice(start));
  }

  #readField(name, value) {
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#pendingId = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.#onRetry(Number(value));
  }

  #dispatch() {
    this.lastEventId = this.#pendingId;
    const data = this.#data;
    const type = this.#type || "message";
    this.#data = [];
    this.#type = "";
    if (data.length === 0) return;
    this.#onMessage({ data: data.join("\n"), type, lastEventId: this.lastEventId });
  }
}

/** Answers after which asking again would give the same: what a page may tell its reader. */
const FINAL_ANSWERS = {
  204: { code: "finished", message: "The stream has ended: there is nothing behind the last event." },
  401: { code: "not_authenticated", message: "You are not logged in any more. Log in and reload the page." },
  403: { code: "permission_denied", message: "You may not follow this run." },
  404: { code: "not_found", message: "This run does not exist, or you may not see it." },
};

const LAST_EVENT = { code: "finished", message: "The stream has ended with its last event." };
const ABORTED = { code: "aborted", message: "The stream was closed by the page." };
const CUT = { code: "cut", message: "The server ended the connection before the last event." };
const SILENT = { code: "silent", message: "The server has not been heard for too long." };
const RENEWED = { code: "renewed", message: "The connection is made again." };

/** The longest that a browser's timer can wait; a longer one would fire at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * How long to wait before an attempt: exponential, with a jitter that spreads the clients of a restarted server.
 *
 * @param {number} failures in a row, at least 1
 * @param {{retry: number, longestWait: number, random: () => number}} options `retry` as the server asked
 * @returns {number} milliseconds
 */
export function backoff(failures, { retry, longestWait, random }) {
  const growing = Math.max(retry, 100) * 2 ** Math.min(failures - 1, 30);
  const wait = failures === 1 ? retry : Math.min(growing, Math.max(longestWait, retry));
  return Math.min(wait * (0.5 + random() / 2), LONGEST_TIMER);
}

/**
 * `connecting`: the first attempt is under way. `open`: events arrive. `lost`: the connection broke, and attempts to
 * make it again go on; the state stays until one succeeds. `ended`: nothing more will come, and `code` says why.
 *
 * @typedef {"connecting"|"open"|"lost"|"ended"} ConnectionState
 * @typedef {{code: string, message: string, retryAt?: ?number, failures?: number}} ConnectionDetail
 *   `retryAt` (milliseconds since 1970) is when the next attempt comes, null while it is under way.
 */

/**
 * One stream, kept open until its last event: a connection that breaks, stalls, or is answered with anything but an
 * event stream is made again behind the last event that was delivered.
 *
 * It gives up only on the answers 401, 403, 404 (what it asks for is not to be had) and 204 (the standard's "stop").
 */
export class EventStreamClient {
  #url;
  #options;
  #state = null;
  #failures = 0; // in a row
  #retry; // milliseconds, as the server asked
  #connection = null; // AbortController of the connection that is open or being made
  #endWait = null; // ends the wait before the next attempt
  #heardAt = 0;
  #openedAt = 0;
  #stopped = null; // why the client ended

  /**
   * @param {string} url
   * @param {object} options
   * @param {(message: {data: string, type: string, lastEventId: string}) => boolean|void} options.onMessage returns
   *   true for the message behind which nothing comes
   * @param {(state: ConnectionState, detail: ConnectionDetail) => void} [options.onConnection]
   * @param {() => void} [options.onActivity] called for every piece of bytes, keep-alives included
   * @param {string|number} [options.lastEventId] where to go on; "" for the beginning
   * @param {() => Object<string, string>|Promise<Object<string, string>>} [options.headers] more headers, asked for
   *   before each attempt
   * @param {number} [options.watchdog] milliseconds of silence after which the connection counts as dead; must be
   *   longer than the server's keep-alive interval (15 s)
   * @param {number} [options.retry] milliseconds before the first reconnection, until the server sends its own `retry:`
   * @param {number} [options.longestWait] milliseconds; the backoff doubles up to this
   * @param {AbortSignal} [options.signal]
   * @param {typeof fetch} [options.fetch]
   * @param {() => number} [options.random] for the jitter; 0 to 1
   * @param {object} [options.page] the window, whose `online` and `visibilitychange` events cut waits short
   */
  constructor(url, options) {
    this.#url = url;
    this.#options = {
      onConnection: () => {},
      onActivity: () => {},
      headers: () => ({}),
      watchdog: 40_000,
      retry: 2_000,
      longestWait: 30_000,
      fetch: (...request) => globalThis.fetch(...request),
      random: Math.random,
      page: globalThis,
      ...options,
    };
    this.#retry = this.#options.retry;
    this.lastEventId = String(options.lastEventId ?? "");
  }

  /**
   * Keep the stream open until it ends.
   *
   * @returns {Promise<ConnectionDetail>} why it ended; never rejects
   */
  async run() {
    const { signal } = this.#options;
    const abort = () => this.close();
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    const unlisten = this.#listenToPage();
    this.#tell("connecting", { code: "connecting", message: "Connecting." });
    while (!this.#stopped) {
      const lost = await this.#connect();
      if (!this.#stopped) await this.#wait(lost);
    }
    unlisten();
    signal?.removeEventListener("abort", abort);
    this.#tell("ended", this.#stopped);
    return this.#stopped;
  }

  /** Stop for good. */
  close() {
    this.#stop(ABORTED);
  }

  /** Do not wait for the next attempt: make it now. An open connection is left alone. */
  retryNow() {
    this.#endWait?.();
  }

  /** Make the connection again at once, behind the last event: the old one may be dead without knowing it. */
  renew() {
    if (this.#endWait) this.#endWait();
    else if (this.#state === "open") this.#connection?.abort(RENEWED);
  }

  #stop(reason) {
    this.#stopped ??= reason;
    this.#connection?.abort(this.#stopped);
    this.#endWait?.();
  }

  /** One connection, from its request to its end; returns why it is no more. */
  async #connect() {
    const connection = new AbortController();
    this.#connection = connection;
    const watchdog = this.#watch(connection);
    try {
      return await this.#requestAndRead(connection.signal);
    } catch (problem) {
      if (connection.signal.aborted) return connection.signal.reason;
      return { code: "network", message: `The server could not be reached: ${problem.message}.` };
    } finally {
      clearInterval(watchdog);
      this.#connection = null;
      connection.abort(CUT); // frees the socket of an answer that was not read to its end
    }
  }

  async #requestAndRead(signal) {
    const headers = { Accept: "text/event-stream", ...(await this.#options.headers()) };
    if (this.lastEventId !== "") headers["Last-Event-ID"] = asHeader(this.lastEventId);
    const request = { headers, signal, cache: "no-store", credentials: "same-origin" };
    const response = await this.#options.fetch(this.#url, request);
    if (response.status in FINAL_ANSWERS) {
      this.#stop(FINAL_ANSWERS[response.status]);
      return this.#stopped;
    }
    const refusal = refusalOf(response);
    if (refusal) return refusal;
    this.#openedAt = Date.now();
    this.#tell("open", { code: "open", message: "Connected." });
    await this.#read(response.body.getReader());
    return CUT;
  }

  async #read(reader) {
    const parser = new EventStreamParser({
      lastEventId: this.lastEventId,
      onMessage: (message) => this.#deliver(message),
      onRetry: (milliseconds) => {
        this.#retry = milliseconds;
      },
    });
    while (!this.#stopped) {
      const { done, value } = await reader.read();
      if (done || this.#stopped) return;
      this.#heardAt = Date.now();
      // Not as soon as it is open: a server that accepts and cuts at once is not to be hammered.
      if (this.#heardAt - this.#openedAt > this.#retry) this.#failures = 0;
      this.#options.onActivity();
      parser.push(value);
      if (!this.#stopped) this.lastEventId = parser.lastEventId;
    }
  }

  #deliver(message) {
    if (this.#stopped) return;
    this.lastEventId = message.lastEventId;
    this.#failures = 0;
    if (callSafely(this.#options.onMessage, message) === true) this.#stop(LAST_EVENT);
  }

  async #wait(lost) {
    if (lost === RENEWED) return;
    this.#failures += 1;
    const { longestWait, random } = this.#options;
    const calculated = backoff(this.#failures, { retry: this.#retry, longestWait, random });
    const wait = Math.max(calculated, lost.retryAfter ?? 0);
    const detail = { code: lost.code, message: lost.message, failures: this.#failures };
    this.#tell("lost", { ...detail, retryAt: Date.now() + wait });
    await this.#sleep(wait);
    if (!this.#stopped) this.#tell("lost", { ...detail, retryAt: null });
  }

  #sleep(milliseconds) {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#endWait = null;
        resolve();
      };
      const timer = setTimeout(end, milliseconds);
      this.#endWait = end;
    });
  }

  /** Give a connection up that is silent; from its request on, for an answer may never come either. */
  #watch(connection) {
    const { watchdog } = this.#options;
    this.#heardAt = Date.now();
    const check = () => {
      if (Date.now() - this.#heardAt >= watchdog) connection.abort(SILENT);
    };
    return setInterval(check, Math.max(10, watchdog / 8));
  }

  /** A network that is back, and a page that is looked at again, are not to wait for a timer. */
  #listenToPage() {
    const { page, watchdog } = this.#options;
    const online = () => this.renew();
    const visible = () => {
      if (page.document.visibilityState !== "visible") return;
      if (Date.now() - this.#heardAt > watchdog / 2) this.renew();
      else this.retryNow();
    };
    page.addEventListener?.("online", online);
    page.document?.addEventListener("visibilitychange", visible);
    return () => {
      page.removeEventListener?.("online", online);
      page.document?.removeEventListener("visibilitychange", visible);
    };
  }

  #tell(state, detail) {
    this.#state = state;
    callSafely(this.#options.onConnection, state, detail);
  }
}

/** Why an answer is not an event stream, or null when it is one. */
function refusalOf(response) {
  if (!response.ok) {
    const message = `The server answered ${response.status} ${response.statusText}`.trim();
    return { code: `http_${response.status}`, message: `${message}.`, retryAfter: retryAfterOf(response) };
  }
  const type = response.headers.get("Content-Type") ?? "";
  if (/^text\/event-stream\s*(;|$)/i.test(type)) return null;
  const message = `The server answered with ${type || "no content type"} instead of an event stream.`;
  return { code: "not_a_stream", message };
}

/** The header `Retry-After` in milliseconds (RFC 9110, 10.2.3); 0 without one. Its form as a date is not used here. */
function retryAfterOf(response) {
  const value = response.headers.get("Retry-After") ?? "";
  return /^[0-9]{1,6}$/.test(value) ? Number(value) * 1000 : 0;
}

/** An id as a header can carry it: its UTF-8 bytes, one character each (the standard, 9.2.3). */
function asHeader(id) {
  return String.fromCharCode(...new TextEncoder().encode(id));
}

/** A listener that raises is reported, and costs neither the connection nor the events behind. */
export function callSafely(listener, ...values) {
  try {
    return listener(...values);
  } catch (problem) {
    if (typeof reportError === "function") reportError(problem);
    else console.error(problem);
    return undefined;
  }
}
