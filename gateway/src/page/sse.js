// Decodes a stream of server-sent events, as the HTML standard defines it, from pieces of text.
//
// `EventSource` cannot send an `Authorization` header, so the page reads events with `fetch` and decodes them here.

/** The longest text that one event, or one unfinished line, may have, in UTF-16 units. */
export const MAX_EVENT = 8 * 1024 * 1024;

export class SseParser {
  /**
   * @param {(event: {type: string, data: string, id: string}) => void} onEvent
   *   Called for each complete event. `id` is the last id that the stream named.
   * @param {(milliseconds: number) => void} [onRetry] Called when the stream names a time to wait before a reconnect.
   */
  constructor(onEvent, onRetry = () => {}) {
    this.onEvent = onEvent;
    this.onRetry = onRetry;
    this.lastId = "";
    this.#clear();
  }

  #rest = "";
  #type = "";
  #data = [];
  #size = 0;
  #isFirst = true;
  #endedWithCr = false;

  #clear() {
    this.#type = "";
    this.#data = [];
    this.#size = 0;
  }

  /**
   * Takes the next piece of text. A piece may end anywhere, also between the two characters of a CRLF.
   * @throws {RangeError} if an event is longer than `MAX_EVENT`. The stream cannot be read further then.
   */
  push(text) {
    if (text === "") return;
    if (this.#isFirst) {
      this.#isFirst = false;
      if (text.startsWith("\uFEFF")) text = text.slice(1);
    }
    if (this.#endedWithCr && text.startsWith("\n")) text = text.slice(1);
    this.#endedWithCr = text === "" ? false : text.endsWith("\r");
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line);
    if (this.#rest.length > MAX_EVENT) throw new RangeError("an event is too long");
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") {
      this.#size += value.length;
      if (this.#size > MAX_EVENT) throw new RangeError("an event is too long");
      this.#data.push(value);
    } else if (field === "event") {
      this.#type = value;
    } else if (field === "id") {
      if (!value.includes("\0")) this.lastId = value;
    } else if (field === "retry" && /^\d+$/.test(value)) {
      this.onRetry(Number(value));
    }
  }

  #dispatch() {
    const [type, data] = [this.#type || "message", this.#data];
    this.#clear();
    if (data.length > 0) this.onEvent({ type, data: data.join("\n"), id: this.lastId });
  }
}
