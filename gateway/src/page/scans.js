// The scan panel: starts a scan of instruments, shows how each scan goes, and the results of one.

import { clip, count, duration, plural, sentence, words } from "./format.js";
import { attr, byId, el, keyed, show, text, variable } from "./dom.js";
import { parseInstruments } from "./hash.js";
import { EventStream } from "./stream.js";
import { unshiftCapped } from "./ring.js";

/** How many results the page holds: the latest ones. */
const RESULTS = 300;

const isOver = (scan) => scan.state === "done" || scan.state === "cancelled";

/** Whether `one` is a later state of a scan than `other`. A scan that has ended does not begin again. */
export function isAhead(one, other) {
  if (isOver(one) !== isOver(other)) return isOver(one);
  return (one.done ?? 0) > (other.done ?? 0);
}

/** How a scan goes, in words. What is done includes what failed. */
export function scanText(scan) {
  const parts = [`${count(scan.done)} of ${count(scan.total)}`];
  if (scan.failed > 0) parts.push(`${count(scan.failed)} failed`);
  if (scan.state === "running" && scan.position != null) {
    parts.push(scan.position === 0 ? "next in the queue" : `${plural(scan.position, "call")} ahead`);
  }
  if (!isOver(scan) && scan.estimated_wait != null) parts.push(`about ${duration(scan.estimated_wait)} to go`);
  return parts.join(", ");
}

/** A result in a few words: the last price if the body has one, otherwise the body itself, clipped. */
export function resultText(result) {
  if (!result.ok) return clip(result.error ?? `status ${result.status}`, 200);
  const price = lastPrice(result.body, 4);
  if (price !== null) return String(price);
  return clip(typeof result.body === "string" ? result.body : JSON.stringify(result.body), 200);
}

function lastPrice(body, depth) {
  if (body === null || typeof body !== "object" || depth === 0) return null;
  if (typeof body.last_price === "number" || typeof body.last_price === "string") return body.last_price;
  const parts = Object.values(body).slice(0, 3);
  return parts.length === 0 || parts.length > 2
    ? null
    : (parts.map((part) => lastPrice(part, depth - 1)).find((price) => price !== null) ?? null);
}

function createResult({ result }) {
  return el(
    "tr",
    { "data-testid": "scan-result", "data-ok": result.ok },
    el("td.num", {}, count(result.index + 1)),
    el("th", { scope: "row" }, clip(result.name, 120)),
    el("td.num", { "data-tone": result.ok ? null : "bad" }, result.status == null ? "not sent" : String(result.status)),
    el("td.result-text", { "data-tone": result.ok ? null : "bad" }, resultText(result)),
  );
}

export class Scans {
  #account = null;
  /** Scans by id: what the status or the stream of one said last. */
  #scans = [];
  #watched = null;
  #stream = null;
  #results = [];

  /** @param {(text: string) => void} announce tells a screen reader */
  constructor(api, announce) {
    this.api = api;
    this.announce = announce;
    byId("scan-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#begin();
    });
  }

  update(account, scans) {
    this.#account = account.name;
    show(byId("scan"), account.preset === "kite" || (scans ?? []).length > 0);
    show(byId("scan-form"), account.preset === "kite");
    const followed = this.#scans.find(({ id }) => id === this.#watched);
    this.#scans = (scans ?? []).slice(-50);
    // The status comes once a second, the stream of a scan at once, so what the stream said may be newer.
    const place = this.#scans.findIndex(({ id }) => id === this.#watched);
    if (place < 0 && followed && this.#stream) this.#scans.push(followed);
    else if (place >= 0 && followed && isAhead(followed, this.#scans[place])) this.#scans[place] = followed;
    this.#render();
  }

  /** Closes the stream of results while nobody looks, and goes on after the last result. */
  suspend() {
    this.#stream?.stop();
  }

  resume() {
    this.#stream?.start();
  }

  #put(scan) {
    const place = this.#scans.findIndex(({ id }) => id === scan.id);
    if (place >= 0 && !isAhead(this.#scans[place], scan)) this.#scans[place] = scan;
  }

  #complain(problem) {
    text(byId("scan-message"), sentence(problem));
    show(byId("scan-message"), problem !== "");
  }

  async #begin() {
    const field = byId("scan-field");
    const instruments = parseInstruments(field.value, Infinity);
    if (instruments.length === 0) {
      this.#complain("Enter instruments, one a line.");
      field.focus();
      return;
    }
    const button = byId("scan-start");
    if (button.getAttribute("aria-disabled") === "true") return;
    attr(button, "aria-disabled", "true");
    try {
      const { id, total } = await this.api.post("scans", { account: this.#account, instruments });
      this.#complain("");
      this.#scans.push({ id, state: "running", done: 0, failed: 0, total, position: null, estimated_wait: null });
      this.watch(id);
      this.announce(`Scan ${id} of ${total} started`);
    } catch (error) {
      this.#complain(error.message);
    } finally {
      attr(button, "aria-disabled", null);
    }
  }

  /** Shows the results of a scan, from the first. */
  watch(id) {
    this.#stream?.stop();
    this.#watched = id;
    this.#results = [];
    this.#stream = new EventStream({
      url: this.api.url(`scans/${encodeURIComponent(id)}/events`),
      headers: () => this.api.headers(),
      onEvent: (event) => this.#onEvent(id, event),
      onState: (state) => this.#onState(id, state),
    });
    this.#stream.start();
    this.#render();
  }

  #onEvent(id, { type, data }) {
    if (id !== this.#watched) return;
    let value;
    try {
      value = JSON.parse(data);
    } catch {
      return;
    }
    if (type === "result") {
      if (this.#results.some(({ result }) => result.index === value.index)) return;
      unshiftCapped(this.#results, { result: value }, RESULTS);
    } else if (value?.id === id) {
      // `progress`, `paused`, `resumed`, `done` or `cancelled`: the scan itself.
      this.#put(value);
    }
    if (type === "done" || type === "cancelled") {
      this.#stream?.stop();
      this.#stream = null;
      this.announce(`Scan ${id} is ${type}: ${scanText(value)}`);
    }
    this.#schedule();
  }

  #onState(id, { name, reason }) {
    if (id !== this.#watched) return;
    const problem = {
      waiting: `No results for now: ${reason}. The page tries again.`,
      denied: "This key may not see the scan.",
      gone: "The gateway does not have this scan any more.",
    };
    this.#complain(problem[name] ?? "");
    if (name === "gone" || name === "denied") this.#stream = null;
  }

  /** Draws at most once a frame: results can come in hundreds. */
  #schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.#render();
    });
  }

  async #command(id, command) {
    try {
      const scan = await this.api.post(`scans/${encodeURIComponent(id)}/${command}`);
      this.#complain("");
      if (scan) this.#put(scan);
    } catch (error) {
      this.#complain(error.message);
    }
    this.#render();
  }

  #render() {
    const scans = [...this.#scans].reverse().map((scan) => ({ scan, isWatched: scan.id === this.#watched }));
    keyed(
      byId("scan-list"),
      scans,
      ({ scan }) => scan.id,
      (item) => this.#createScan(item),
    );
    show(byId("scan-list"), scans.length > 0);
    const results = this.#results.slice(0, RESULTS);
    show(byId("result-region"), this.#watched !== null && results.length > 0);
    const kept = results.length === RESULTS ? `; the page keeps ${RESULTS}` : "";
    text(byId("result-caption"), `Results of scan ${this.#watched ?? ""}, the latest first${kept}`);
    keyed(byId("result-rows"), results, ({ result }) => `${this.#watched} ${result.index}`, createResult);
  }

  #createScan({ scan: { id } }) {
    const [state, detail] = [
      el("span.state", { "data-testid": "scan-state" }),
      el("p.scan-detail", { "data-testid": "scan-detail" }),
    ];
    const [done, failed] = [el("div.meter-fill"), el("div.meter-failed")];
    const bar = el(
      "div.meter-bar",
      { role: "progressbar", "aria-label": `Scan ${id}`, "aria-valuemin": "0" },
      done,
      failed,
    );
    let current = null;
    const button = (label, run, name) => {
      const verb = el("span", {}, label);
      const node = el(
        "button.button.small",
        { type: "button", onclick: run, "data-testid": `scan-${name}` },
        verb,
        el("span.unseen", {}, ` scan ${id}`),
      );
      node.say = (value) => text(verb, value);
      return node;
    };
    const toggle = button("Pause", () => this.#command(id, current.state === "paused" ? "resume" : "pause"), "toggle");
    const cancel = button("Cancel", () => this.#command(id, "cancel"), "cancel");
    const look = button("Results", () => this.watch(id), "look");
    const node = el(
      "li.scan",
      { "data-testid": "scan-item", "data-scan": id },
      el("div.scan-head", {}, el("h3", {}, `Scan ${id}`), state, el("div.buttons", {}, look, toggle, cancel)),
      bar,
      detail,
    );
    node.update = ({ scan, isWatched }) => {
      current = scan;
      text(state, words(scan.state));
      attr(state, "data-tone", { running: "good", paused: "warn", done: "good" }[scan.state] ?? "quiet");
      text(detail, scanText(scan));
      const total = Math.max(scan.total ?? 0, 1);
      variable(bar, "--used", Math.min(1, (scan.done ?? 0) / total));
      variable(bar, "--failed", Math.min(1, (scan.failed ?? 0) / total));
      attr(bar, "aria-valuemax", total);
      attr(bar, "aria-valuenow", Math.min(total, scan.done ?? 0));
      attr(bar, "aria-valuetext", scanText(scan));
      toggle.say(scan.state === "paused" ? "Resume" : "Pause");
      // The focus must not vanish with its button.
      const hadFocus = [toggle, cancel].includes(document.activeElement);
      // The gateway shows every scan, and lets its own client follow and control it.
      const isOwn = this.api.mayUse(scan.client);
      show(look, isOwn);
      for (const each of [toggle, cancel]) show(each, isOwn && !isOver(scan));
      attr(look, "aria-pressed", isWatched);
      attr(node, "data-watched", isWatched);
      if (hadFocus && isOver(scan)) look.focus();
    };
    return node;
  }
}
