/** A real HTTP server that streams a run, and misbehaves as it is told: one entry of a script for each connection. */

import { createServer } from "node:http";

const frame = (seq, last) => {
  const type = seq === last ? "executionFinished" : "nodeExecutionProgress";
  return `data: {"type":"${type}","data":{"executionId":"run","nodeId":"a","text":"${seq} ü"}}\nid: ${seq}\n\n`;
};

/** What a connection that misbehaves in nothing sends behind event `after`. */
export function streamBytes(after, count) {
  const missing = Array.from({ length: count - after }, (_, index) => frame(after + 1 + index, count));
  return Buffer.from(`retry: 20\n${missing.join("")}`);
}

/**
 * @param {object} options
 * @param {number} options.count of events; the last one is `executionFinished`
 * @param {Array<string|object>} [options.script] what to do with each connection in turn; when it is used up, "whole"
 *   - "whole": all that is missing, then the end; 204 when nothing is
 *   - {cut: n}: only the first n bytes of that, then the socket is destroyed
 *   - {end: n}: only the first n bytes, then the response ends as if it were complete
 *   - {stall: n}: n bytes, then silence
 *   - {keepAlive: n, every: ms}: n keep-alives, then all
 *   - {again: n}: the first n bytes of the whole stream, whatever the client has seen already
 *   - {raw: text}: this text as the stream, then its end
 *   - {status, type, body, headers}: this answer
 *   - "reset": the socket is destroyed without an answer; "mute": no answer at all
 */
export async function streamServer({ count, script = [] }) {
  const connections = [];
  const server = createServer((request, response) => {
    const after = Number(request.headers["last-event-id"] ?? 0);
    connections.push({ after, url: request.url, headers: request.headers, at: Date.now() });
    const todo = script[connections.length - 1] ?? "whole";
    answer(request, response, todo, after, count);
  });
  await new Promise((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address();
  const close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => {
      server.close(resolve);
    });
  };
  return { url: `http://127.0.0.1:${port}`, connections, close };
}

function answer(request, response, todo, after, count) {
  if (todo === "reset") return request.socket.destroy();
  if (todo === "mute") return undefined;
  if (todo.status) return plainAnswer(response, todo);
  if (after >= count) return response.writeHead(204).end();
  const bytes = "raw" in Object(todo) ? Buffer.from(todo.raw) : streamBytes("again" in Object(todo) ? 0 : after, count);
  response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store" });
  response.flushHeaders();
  if (todo === "whole") return response.end(bytes);
  if ("cut" in todo) return response.write(bytes.subarray(0, todo.cut), () => request.socket.destroy());
  if ("end" in todo) return response.end(bytes.subarray(0, todo.end));
  if ("again" in todo) return response.end(bytes.subarray(0, todo.again));
  if ("raw" in todo) return response.end(bytes);
  if ("stall" in todo) return response.write(bytes.subarray(0, todo.stall));
  return keepAlive(response, todo, bytes);
}

function plainAnswer(response, { status, type = "text/plain", body = "", headers = {} }) {
  response.writeHead(status, { "Content-Type": type, ...headers }).end(body);
}

function keepAlive(response, { keepAlive: left, every }, bytes) {
  if (left === 0) return response.end(bytes);
  response.write(": keep-alive\n");
  return setTimeout(() => keepAlive(response, { keepAlive: left - 1, every }, bytes), every);
}
