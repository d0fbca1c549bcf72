// Keeps one stream of server-sent events open: reconnects with a growing wait, resumes after the last event, and
// notices a connection that has gone silent.

import { SseParser } from "./sse.js";

/** The longest wait before a reconnect, in milliseconds. */
const MAX_WAIT = 30_000;

/** A stream that is silent for this long is dead, in milliseconds. The gateway sends a heartbeat every 15 s. */
const SILENCE = 35_000;

/**
 * Returns how long to wait before the next attempt, in milliseconds.
 *
 * The wait doubles with each attempt that fails, from `retry`, and is spread by a quarter, so that the tabs of a desk
 * do not all return at the same moment.
 * @param {number} retry what the server asked for, in milliseconds
 * @param {number} failures how many attempts failed in a row, 1 or more
 * @param {number} random from 0 to 1
 */
export function reconnectWait(retry, failures, random) {
  const base = Math.min(MAX_WAIT, Math.max(retry, 250) * 2 ** Math.min(failures - 1, 16));
  return Math.round(base * (0.75 + random / 2));
}

/**
 * What `onState` is told:
 * - `connecting`, `live`
 * - `waiting`: the next attempt comes in `wait` milliseconds, because of `reason`
 * - `denied`: the gateway wants a key, or another one. The stream waits for `start()`
 * - `gone`: the gateway does not have this stream. The stream is stopped
 * - `stopped`: by `stop()`
 */
export class EventStream {
  #options;
  #abort = null;
  #timer = null;
  #retry = 2000;
  #failures = 0;
  #lastId = "";

  /**
   * @param {{
   *   url: string,
   *   headers: () => Record<string, string>,
   *   onEvent: (event: {type: string, data: string, id: string}) => void,
   *   onState: (state: {name: string, wait?: number, reason?: string}) => void,
   *   fetch?: typeof fetch,
   *   random?: () => number,
   *   silence?: number,
   * }} options
   */
  constructor(options) {
    this.#options = { fetch: (...of) => fetch(...of), random: Math.random, silence: SILENCE, ...options };
  }

  /** Connects now, unless a connection is open already. A wait ends. */
  start() {
    if (this.#abort) return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  /** Closes the stream. `start()` resumes it after the last event. */
  stop() {
    this.#close();
    this.#options.onState({ name: "stopped" });
  }

  #close() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#abort = null;
  }

  async #connect() {
    const abort = new AbortController();
    this.#abort = abort;
    const { onState } = this.#options;
    onState({ name: "connecting" });
    let reason = "the gateway ended the stream";
    try {
      const response = await this.#request(abort);
      if (response.status === 401 || response.status === 403) return this.#end(abort, "denied");
      if (response.status === 404 || response.status === 410) return this.#end(abort, "gone");
      if (!response.ok) throw new Error(`the gateway answers ${response.status}`);
      if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
        throw new Error("the answer is not a stream of events");
      }
      if (abort.signal.aborted) return;
      onState({ name: "live" });
      await this.#read(response.body, abort);
    } catch (error) {
      reason = error instanceof TypeError ? "the gateway cannot be reached" : error.message;
    }
    // Not this one any more: it was stopped, or another connection took its place.
    if (this.#abort !== abort) return;
    this.#close();
    this.#failures += 1;
    const wait = reconnectWait(this.#retry, this.#failures, this.#options.random());
    this.#timer = setTimeout(() => this.#connect(), wait);
    onState({ name: "waiting", wait, reason });
  }

  #end(abort, name) {
    if (this.#abort !== abort) return;
    this.#close();
    this.#options.onState({ name });
  }

  #request(abort) {
    const headers = { Accept: "text/event-stream", ...this.#options.headers() };
    if (this.#lastId) headers["Last-Event-ID"] = this.#lastId;
    return this.#watch(
      abort,
      this.#options.fetch(this.#options.url, {
        headers,
        signal: abort.signal,
        cache: "no-store",
        credentials: "omit",
      }),
    );
  }

  async #read(body, abort) {
    const isCurrent = () => this.#abort === abort;
    const parser = new SseParser(
      (event) => {
        this.#failures = 0;
        this.#lastId = event.id;
        if (isCurrent()) this.#options.onEvent(event);
      },
      (milliseconds) => {
        this.#retry = milliseconds;
      },
    );
    parser.lastId = this.#lastId;
    const reader = body.getReader();
    const decoder = new TextDecoder();
    try {
      while (isCurrent()) {
        const { value, done } = await this.#watch(abort, reader.read());
        if (done) return;
        parser.push(decoder.decode(value, { stream: true }));
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  /** Waits for a promise, but not for longer than a live stream can be silent. */
  async #watch(abort, promise) {
    let timer;
    const silence = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("the gateway is silent")), this.#options.silence);
    });
    try {
      return await Promise.race([promise, silence]);
    } finally {
      clearTimeout(timer);
    }
  }
}
