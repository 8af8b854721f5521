import assert from "node:assert/strict";
import { test } from "node:test";

import { EventStreamParser } from "../../flows/static/wataomi/sse.js";

const bytesOf = (text) => new TextEncoder().encode(text);

/** What a parser delivers of the pieces: its messages, the `retry:` values, and the id to resume behind. */
function parse(pieces, lastEventId = "") {
  const messages = [];
  const retries = [];
  const onRetry = (milliseconds) => retries.push(milliseconds);
  const parser = new EventStreamParser({ onMessage: (message) => messages.push(message), onRetry, lastEventId });
  pieces.forEach((piece) => parser.push(piece));
  return { messages, retries, lastEventId: parser.lastEventId };
}

const parseText = (text, lastEventId) => parse([bytesOf(text)], lastEventId);
const message = (data, lastEventId = "", type = "message") => ({ data, type, lastEventId });

/** As the project's server sends it: `retry:` first, comments with one newline, `data:` before `id:`. */
const RECORDED = bytesOf(
  "retry: 2000\n" +
    'data: {"type":"executionStarted","data":{"flowName":"Grüße 🚀"}}\nid: 1\n\n' +
    ": keep-alive\n" +
    'data: {"type":"nodeExecutionBefore","data":{"nodeId":"a"}}\nid: 2\n\n' +
    ": keep-alive\n: keep-alive\n" +
    'data: {"type":"nodeExecutionAfter","data":{"nodeId":"a"}}\nid: 3\n\n' +
    'data: {"type":"executionFinished","data":{}}\nid: 4\n\n',
);

/** Everything else that the standard allows: BOM, all line ends, fields without a colon, several data lines. */
const UNUSUAL = bytesOf(
  "\uFEFF: first\r\nretry:500\r\rdata: a\rdata:b\r\ndata\n\nevent: named\r\ndata: 😀é\r\nid: x\r\n\r\n" +
    "id: y\n\nid: nul\0nul\ndata: c\n\nretry: 1.5\nretry: -1\nunknown: field\ndata:  two spaces\r\r\n: end\r",
);

for (const [name, stream] of [
  ["recorded", RECORDED],
  ["unusual", UNUSUAL],
]) {
  test(`a stream (${name}) cut in two at every byte gives the same`, () => {
    const whole = parse([stream]);
    assert.ok(whole.messages.length >= 4);
    for (let cut = 0; cut <= stream.length; cut += 1) {
      assert.deepEqual(parse([stream.slice(0, cut), stream.slice(cut)]), whole, `cut at byte ${cut}`);
    }
  });

  test(`a stream (${name}) that arrives one byte at a time, or in pieces of any size, gives the same`, () => {
    const whole = parse([stream]);
    for (let size = 1; size <= 40; size += 1) {
      const count = Math.ceil(stream.length / size);
      const pieces = Array.from({ length: count }, (_, index) => stream.slice(index * size, (index + 1) * size));
      assert.deepEqual(parse(pieces), whole, `pieces of ${size}`);
    }
  });
}

test("a stream that ends at any byte delivers only whole events, and its id is that of the last delivered one", () => {
  for (let end = 0; end <= RECORDED.length; end += 1) {
    const { messages, lastEventId } = parse([RECORDED.slice(0, end)]);
    assert.equal(lastEventId, messages.at(-1)?.lastEventId ?? "", `ended at byte ${end}`);
    assert.equal(lastEventId, messages.length === 0 ? "" : String(messages.length));
  }
});

test("the unusual stream is read as the standard says", () => {
  assert.deepEqual(parse([UNUSUAL]), {
    messages: [message("a\nb\n"), message("😀é", "x", "named"), message("c", "y"), message(" two spaces", "y")],
    retries: [500],
    lastEventId: "y",
  });
});

const TABLE = [
  ["a comment and one newline delivers nothing", ": keep-alive\n", []],
  ["a comment and an empty line delivers nothing", ": keep-alive\n\n", []],
  ["a comment inside a frame does not end it", "data: a\n: keep-alive\nid: 1\n\n", [message("a", "1")]],
  ["keep-alives between frames", ": k\ndata: a\n\n: k\n: k\ndata: b\n\n", [message("a"), message("b")]],
  ["empty lines deliver nothing", "\n\n\r\n\r\r", []],
  ["an event without an end is not delivered", "data: a\nid: 1\n", []],
  ["data with nothing behind the colon is an empty message", "data:\n\n", [message("")]],
  ["data without a colon is an empty message", "data\n\n", [message("")]],
  ["two empty data lines are one line break", "data\ndata\n\n", [message("\n")]],
  ["one space behind the colon is left out, and only one", "data:a\ndata: b\ndata:  c\n\n", [message("a\nb\n c")]],
  ["a colon in the value stays", 'data: {"a":1}\n\n', [message('{"a":1}')]],
  ["CR ends a line", "data: a\rid: 1\r\r", [message("a", "1")]],
  ["CRLF ends a line once", "data: a\r\ndata: b\r\n\r\n", [message("a\nb")]],
  ["other separators do not end a line", "data: a\u2028b\u0085c\n\n", [message("a\u2028b\u0085c")]],
  ["a byte order mark at the beginning is left out", "\uFEFFdata: a\n\n", [message("a")]],
  ["a second byte order mark is part of the field's name", "\uFEFF\uFEFFdata: a\n\n", []],
  ["a name with other letters is another field", "Data: a\n\n", []],
  ["a name with a space before is another field", " data: a\n\n", []],
  ["an id with NUL is ignored", "id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n", [message("a", "1"), message("b", "1")]],
  ["an id stays until there is another", "id: 1\ndata: a\n\ndata: b\n\n", [message("a", "1"), message("b", "1")]],
  ["an empty id is an id", "id: 1\ndata: a\n\nid\ndata: b\n\n", [message("a", "1"), message("b", "")]],
  ["a type is that of one event only", "event: x\ndata: a\n\ndata: b\n\n", [message("a", "", "x"), message("b")]],
  ["a type without data is forgotten", "event: x\n\ndata: b\n\n", [message("b")]],
];

for (const [name, text, messages] of TABLE) {
  test(name, () => {
    assert.deepEqual(parseText(text).messages, messages);
  });
}

test("an id is adopted when its event is dispatched, not when its line ends", () => {
  assert.equal(parseText("data: a\nid: 7\n").lastEventId, "");
  assert.equal(parseText("data: a\nid: 7\n\n").lastEventId, "7");
  assert.equal(parseText("id: 7\n\n").lastEventId, "7", "an event without data has an id all the same");
});

test("a new connection goes on with the id of the one before", () => {
  assert.deepEqual(parseText("data: a\n\n", "41"), { messages: [message("a", "41")], retries: [], lastEventId: "41" });
});

test("retry: only digits count", () => {
  const lines = "retry: 2000\nretry:3\nretry: 1e3\nretry: 0x10\nretry: 5 \nretry\nretry: -4\n";
  assert.deepEqual(parseText(lines).retries, [2000, 3]);
});

test("bytes that are not UTF-8 become replacement characters, and nothing behind them is lost", () => {
  const stream = new Uint8Array([...bytesOf("data: "), 0xff, 0xc3, ...bytesOf("\nid: 1\n\ndata: b\n\n")]);
  assert.deepEqual(parse([stream]).messages, [message("\uFFFD\uFFFD", "1"), message("b", "1")]);
});

test("a line of 4 MB in small pieces takes no more than a few passes over it", () => {
  const piece = bytesOf("x".repeat(4096));
  const started = performance.now();
  const { messages } = parse([bytesOf("data: "), ...Array(1024).fill(piece), bytesOf("\n\n")]);
  assert.equal(messages[0].data.length, 4096 * 1024);
  assert.ok(performance.now() - started < 2000);
});
