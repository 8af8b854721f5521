import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError, csrfToken, get, patch, post, request } from "../../flows/static/wataomi/api.js";

/** A `fetch` that gives one answer, and remembers what it was asked. */
function answering(status, body, { type = "application/json", statusText = "" } = {}) {
  const fetch = async (url, options) => {
    fetch.url = url;
    fetch.options = options;
    const text = typeof body === "string" ? body : JSON.stringify(body);
    return new Response(status === 204 ? null : text, { status, statusText, headers: { "Content-Type": type } });
  };
  return fetch;
}

const failure = (promise) =>
  promise.then(
    () => assert.fail("it did not raise"),
    (problem) => problem,
  );

test("a path is below the API, or a whole one; the session is sent along", async () => {
  const fetch = answering(200, { id: 1 });
  assert.deepEqual(await get("flows/1", { fetch }), { id: 1 });
  assert.equal(fetch.url, "/api/v1/flows/1");
  assert.equal(fetch.options.method, "GET");
  assert.equal(fetch.options.credentials, "same-origin");
  assert.equal("X-CSRFToken" in fetch.options.headers, false);
  await get("/healthz", { fetch });
  assert.equal(fetch.url, "/healthz");
});

test("a body is sent as JSON with the CSRF token, by each method", async (context) => {
  context.after(() => delete globalThis.document);
  globalThis.document = { querySelector: () => null, cookie: "a=b; csrftoken=tok3n; c=d" };
  for (const [name, method] of Object.entries({ POST: post, PATCH: patch })) {
    const fetch = answering(200, {});
    await method("flows/1", { name: "Ünï" }, { fetch });
    assert.equal(fetch.options.method, name);
    assert.equal(fetch.options.body, '{"name":"Ünï"}');
    assert.equal(fetch.options.headers["Content-Type"], "application/json");
    assert.equal(fetch.options.headers["X-CSRFToken"], "tok3n");
  }
  const fetch = answering(204, "");
  assert.equal(await request("flows/1", { method: "DELETE", fetch }), null);
  assert.equal(fetch.options.method, "DELETE");
  assert.equal(fetch.options.headers["X-CSRFToken"], "tok3n");
});

test("the CSRF token comes from the page's form, its meta element, or its cookie", () => {
  const page = (elements, cookie = "csrftoken=cookie") => {
    return { querySelector: (selector) => elements[selector] ?? null, cookie };
  };
  const field = { "input[name=csrfmiddlewaretoken]": { value: "field" } };
  const meta = { "meta[name=csrf-token]": { content: "meta" } };
  assert.equal(csrfToken(page({ ...field, ...meta })), "field");
  assert.equal(csrfToken(page(meta)), "meta");
  assert.equal(csrfToken(page({})), "cookie");
  assert.equal(csrfToken(page({}, "xcsrftoken=other; csrftoken=right")), "right");
  assert.equal(csrfToken(page({}, "")), "");
  assert.equal(csrfToken(undefined), "");
});

const REFUSALS = [
  [
    "a refusal with a code and a hint",
    [409, { detail: "The flow is not active.", code: "flow_inactive", hint: "Switch it on." }],
    { status: 409, code: "flow_inactive", detail: "The flow is not active.", hint: "Switch it on.", fields: {} },
  ],
  [
    "a stale save",
    [409, { detail: "Someone else has saved.", code: "stale_base", current: 7 }],
    { status: 409, code: "stale_base", body: { detail: "Someone else has saved.", code: "stale_base", current: 7 } },
  ],
  [
    "an invalid flow",
    [400, { detail: "The flow has 1 problem.", code: "flow_invalid", problems: [{ node: "a", code: "cycle" }] }],
    { code: "flow_invalid", problems: [{ node: "a", code: "cycle" }], fields: {} },
  ],
  [
    "fields that are wrong",
    [400, { name: ["This field is required."], input_data: "Must be an object." }],
    {
      code: "invalid",
      detail: "name: This field is required. input_data: Must be an object.",
      fields: { name: ["This field is required."], input_data: ["Must be an object."] },
    },
  ],
  [
    "nested fields, and a message about no field",
    [400, { graph: { nodes: ["Too many."] }, non_field_errors: ["It does not fit together."] }],
    { detail: "It does not fit together. graph.nodes: Too many.", fields: { "graph.nodes": ["Too many."] } },
  ],
  ["a list of messages", [400, ["One.", "Two."]], { detail: "One. Two.", code: "invalid" }],
  ["an empty object", [400, {}], { detail: "The server refused the request without saying why." }],
  ["no session", [401, { detail: "Authentication credentials were not provided." }], { code: "not_authenticated" }],
  ["no permission", [403, { detail: "CSRF Failed." }], { code: "permission_denied", detail: "CSRF Failed." }],
  ["nothing there", [404, { detail: "No Flow matches the given query." }], { code: "not_found" }],
  [
    "a server error without JSON",
    [502, "<h1>Bad Gateway</h1>", { type: "text/html", statusText: "Bad Gateway" }],
    { status: 502, code: "http_502", detail: "The server answered 502 Bad Gateway." },
  ],
];

for (const [name, answer, expected] of REFUSALS) {
  test(`${name} is told in full`, async () => {
    const problem = await failure(get("flows/1", { fetch: answering(...answer) }));
    assert.ok(problem instanceof ApiError);
    assert.equal(problem.message, problem.detail);
    for (const [key, value] of Object.entries(expected)) assert.deepEqual(problem[key], value, key);
  });
}

test("what a person can do next is said", async () => {
  assert.match((await failure(get("x", { fetch: answering(401, {}) }))).hint, /Log in/);
  assert.match((await failure(get("x", { fetch: answering(500, "", { type: "text/html" }) }))).hint, /Try again/);
});

test("a page instead of JSON is an error, though its status is 200", async () => {
  const problem = await failure(get("flows", { fetch: answering(200, "<!doctype html>", { type: "text/html" }) }));
  assert.equal(problem.code, "not_json");
  assert.equal(problem.status, 200);
});

test("a server that cannot be reached is an error with what to do", async () => {
  const fetch = async () => {
    throw new TypeError("fetch failed");
  };
  const problem = await failure(request("flows", { fetch }));
  assert.deepEqual([problem.status, problem.code], [0, "network"]);
  assert.match(problem.detail, /fetch failed/);
  assert.match(problem.hint, /connection/);
});

test("an aborted request rejects with the reason that it was aborted for", async () => {
  const controller = new AbortController();
  controller.abort(new DOMException("The panel was closed.", "AbortError"));
  const fetch = async (url, { signal }) => signal.throwIfAborted();
  const problem = await failure(get("flows", { fetch, signal: controller.signal }));
  assert.equal(problem, controller.signal.reason);
});
