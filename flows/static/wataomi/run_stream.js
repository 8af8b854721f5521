/** A run's event stream: where it is, and how its messages become events. */

import { isLastEvent } from "./fold.js";
import { EventStreamClient } from "./sse.js";

/** Why nothing more comes of a run that has ended. */
export const RUN_OVER = { code: "finished", message: "The run has ended." };

/**
 * @param {string} executionId
 * @param {object} options
 * @param {number} options.after the seq of the last event that is known; 0 for none
 * @param {(event: import("./fold.js").RunEvent) => void} options.onEvent
 * @param {?(string|(() => string|Promise<string>))} [options.token]
 * @param {object} [options.connection] passed on to the client, as are the other options
 * @returns {EventStreamClient} not yet running
 */
export function openRunStream(executionId, { after, onEvent, token = null, connection = {}, ...options }) {
  const authorize = async () => {
    const value = typeof token === "function" ? await token() : token;
    return value === null ? {} : { Authorization: `Bearer ${value}` };
  };
  return new EventStreamClient(`/api/v1/executions/${encodeURIComponent(executionId)}/stream`, {
    headers: authorize,
    ...connection,
    ...options,
    lastEventId: after > 0 ? after : "",
    onMessage(message) {
      const event = { seq: Number(message.lastEventId), ...JSON.parse(message.data) };
      onEvent(event);
      return isLastEvent(event);
    },
  });
}
