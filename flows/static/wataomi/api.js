/** The JSON API as pages use it: session and CSRF token, and errors that say what was wrong and what to do next. */

const ROOT = "/api/v1/";

const CODES = { 400: "invalid", 401: "not_authenticated", 403: "permission_denied", 404: "not_found", 409: "conflict" };

/**
 * A request that was not answered as it should be. `message` is for people, and equals `detail`.
 *
 * - `status`: of the answer; 0 when there was none
 * - `code`: the server's, or one that follows from the status (`network`, `not_json`, `http_502`)
 * - `hint`: what to do next; "" when there is nothing to say
 * - `fields`: messages by field name, nested ones as "graph.nodes"; {} when no field is to blame
 * - `problems`: what is wrong with a flow, each {node, code, message, severity, field, path}
 * - `body`: the whole answer, for what only some requests say (such as `current` of a stale save)
 */
export class ApiError extends Error {
  constructor({ status, code, detail, hint = "", fields = {}, problems = [], body = null }) {
    super(detail);
    this.name = "ApiError";
    Object.assign(this, { status, code, detail, hint, fields, problems, body });
  }
}

/**
 * Ask the API.
 *
 * @param {string} path below `/api/v1/` ("flows/1"), or a whole one ("/healthz")
 * @param {object} [options]
 * @param {string} [options.method]
 * @param {unknown} [options.body] sent as JSON
 * @param {Object<string, string>} [options.headers]
 * @param {AbortSignal} [options.signal] when it aborts, the promise rejects with its reason
 * @param {typeof fetch} [options.fetch]
 * @returns {Promise<unknown>} the JSON of the answer; null when it has no content
 * @throws {ApiError}
 */
export async function request(path, { method = "GET", body, headers = {}, signal, fetch = globalThis.fetch } = {}) {
  const url = path.startsWith("/") ? path : ROOT + path;
  const options = { method, signal, credentials: "same-origin", headers: { Accept: "application/json", ...headers } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  if (method !== "GET" && method !== "HEAD") options.headers["X-CSRFToken"] = csrfToken();
  let response;
  let text;
  try {
    response = await fetch(url, options);
    text = await response.text();
  } catch (problem) {
    if (signal?.aborted) throw signal.reason;
    throw unreachable(problem);
  }
  return answerOf(response, text);
}

export const get = (path, options) => request(path, { ...options, method: "GET" });
export const post = (path, body = {}, options = {}) => request(path, { ...options, method: "POST", body });
export const patch = (path, body, options = {}) => request(path, { ...options, method: "PATCH", body });

/** The token that Django wants with every unsafe request of a session: from the page, or else from its cookie. */
export function csrfToken(page = globalThis.document) {
  const field = page?.querySelector("input[name=csrfmiddlewaretoken]")?.value;
  const meta = page?.querySelector("meta[name=csrf-token]")?.content;
  const cookie = page?.cookie.match(/(?:^|;\s*)csrftoken=([^;]+)/)?.[1];
  return field || meta || cookie || "";
}

function answerOf(response, text) {
  const json = parsed(text);
  if (response.ok) {
    if (text === "") return null;
    if (json !== undefined) return json;
    throw notJson(response);
  }
  if (json === undefined || json === null || typeof json !== "object") throw withoutJson(response);
  throw refused(response.status, json);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The server's own words: {"detail", "code", "hint", "problems"}, or messages by field. */
function refused(status, body) {
  const { detail, code, hint = "", problems = [], ...rest } = Array.isArray(body) ? { detail: body.join(" ") } : body;
  const fields = typeof detail === "string" ? {} : fieldsOf(rest);
  const general = fields.non_field_errors ?? [];
  delete fields.non_field_errors;
  return new ApiError({
    status,
    code: typeof code === "string" ? code : codeOf(status),
    detail: typeof detail === "string" ? detail : summary(general, fields),
    hint: hint || hintFor(status),
    fields,
    problems,
    body,
  });
}

/** {"graph": {"nodes": ["..."]}} as {"graph.nodes": ["..."]}. */
function fieldsOf(errors, prefix = "") {
  const fields = {};
  for (const [name, value] of Object.entries(errors)) {
    if (typeof value === "string") fields[prefix + name] = [value];
    else if (Array.isArray(value) && value.every((entry) => typeof entry === "string")) fields[prefix + name] = value;
    else if (value !== null && typeof value === "object") Object.assign(fields, fieldsOf(value, `${prefix}${name}.`));
  }
  return fields;
}

function summary(general, fields) {
  const messages = Object.entries(fields).map(([name, texts]) => `${name}: ${texts.join(" ")}`);
  return [...general, ...messages].join(" ") || "The server refused the request without saying why.";
}

function unreachable(problem) {
  return new ApiError({
    status: 0,
    code: "network",
    detail: `The server could not be reached: ${problem.message}.`,
    hint: "Check your connection, then try again.",
  });
}

function withoutJson(response) {
  const words = `${response.status} ${response.statusText}`.trim();
  const { status } = response;
  return new ApiError({ status, code: codeOf(status), detail: `The server answered ${words}.`, hint: hintFor(status) });
}

function notJson(response) {
  const type = response.headers.get("Content-Type") ?? "no content type";
  return new ApiError({
    status: response.status,
    code: "not_json",
    detail: `The server answered with ${type} instead of JSON.`,
    hint: response.redirected ? "You may have been logged out: reload the page." : "Reload the page, then try again.",
  });
}

const codeOf = (status) => CODES[status] ?? `http_${status}`;

function hintFor(status) {
  if (status === 401) return "Log in again, then repeat this.";
  if (status >= 500) return "Try again in a moment; if it goes on, ask whoever runs this server.";
  return "";
}
