// The prices panel: a short list of instruments, each with its last price and how old it is.

import { NONE, countdown, duration, sentence, timeOfDay } from "./format.js";
import { attr, byId, el, keyed, show, text } from "./dom.js";
import { MAX_INSTRUMENTS, parseInstruments } from "./hash.js";

/** How often the panel asks for prices if it follows them, in milliseconds. The gateway answers from its cache. */
const FOLLOW = 5_000;

/** A fresh price is called fresh for this long, in seconds. */
const FRESH = 10;

/**
 * Says where a price came from and how old it is.
 * @param {{origin: string, age: number | null, fetched_at: string}} price
 * @param {number} since seconds since the answer came
 */
export function originText(price, since) {
  const age = (price.age ?? 0) + since;
  const at = timeOfDay(price.fetched_at);
  if (price.origin !== "fresh") return price.age == null ? "from cache" : `from cache, ${duration(age)} old`;
  return age < FRESH ? `fresh, ${at}` : `fetched ${at}, ${duration(age)} ago`;
}

export class Prices {
  #account = null;
  #known = new Map();
  #coolUntil = 0;
  #askedAt = -Infinity;
  #complainer = null;
  #isAsking = false;
  #isRefreshing = false;
  #isCooling = false;

  /**
   * @param {import("./api.js").Api} api
   * @param {{instruments: string[], isFollowing: boolean}} memory what the address remembers; changed by the panel
   * @param {() => void} remember writes the memory to the address
   */
  constructor(api, memory, remember) {
    this.api = api;
    this.memory = memory;
    this.remember = remember;
    this.coolDown = 5;
    this.button = byId("refresh");
    this.button.addEventListener("click", () => this.#refresh());
    byId("price-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#add(byId("price-field").value);
    });
    byId("price-follow").addEventListener("change", ({ target }) => {
      this.memory.isFollowing = target.checked;
      this.remember();
      this.tick();
    });
    this.showMemory();
  }

  /** Shows what the address remembers, after it was edited. */
  showMemory() {
    byId("price-follow").checked = this.memory.isFollowing;
    this.#forget();
    this.#render();
    this.#ask();
  }

  /** Takes the account, and what the gateway says of the cool-down. */
  update(account, coolDown) {
    this.coolDown = coolDown ?? this.coolDown;
    show(byId("prices"), account.preset === "kite");
    if (account.name === this.#account) return;
    this.#account = account.preset === "kite" ? account.name : null;
    this.#known.clear();
    this.#render();
    this.#ask();
  }

  /** Called a few times a second: ages, the cool-down, and the next question. */
  tick() {
    this.#render();
    if (this.memory.isFollowing && Date.now() - this.#askedAt >= FOLLOW) this.#ask();
  }

  #add(entered) {
    const added = parseInstruments(entered);
    if (added.length === 0) return;
    const names = [...new Set([...this.memory.instruments, ...added])];
    byId("price-field").value = "";
    this.#complain(names.length > MAX_INSTRUMENTS ? `The list holds ${MAX_INSTRUMENTS} instruments.` : "", "list");
    this.memory.instruments = names.slice(0, MAX_INSTRUMENTS);
    this.remember();
    this.#render();
    this.#ask();
  }

  #remove(name) {
    const place = this.memory.instruments.indexOf(name);
    this.memory.instruments = this.memory.instruments.filter((other) => other !== name);
    this.#forget();
    this.remember();
    this.#render();
    const next = byId("price-rows").children[Math.min(place, this.memory.instruments.length - 1)];
    (next?.querySelector("button") ?? byId("price-field")).focus();
  }

  /** Forgets the prices of instruments that are not listed any more. */
  #forget() {
    for (const name of this.#known.keys()) {
      if (!this.memory.instruments.includes(name)) this.#known.delete(name);
    }
  }

  /** Shows a problem. A success of `source` takes back only what `source` complained of. */
  #complain(problem, source) {
    if (problem === "" && this.#complainer !== source) return;
    this.#complainer = source;
    text(byId("price-message"), sentence(problem));
    show(byId("price-message"), problem !== "");
  }

  async #ask() {
    const { instruments } = this.memory;
    if (this.#account === null || instruments.length === 0 || this.#isAsking) return;
    this.#isAsking = true;
    this.#askedAt = Date.now();
    const query = instruments.map((name) => `&i=${encodeURIComponent(name)}`).join("");
    await this.#take("prices", () => this.api.get(`prices?account=${encodeURIComponent(this.#account)}${query}`));
    this.#isAsking = false;
    // The list may have changed meanwhile.
    if (this.memory.instruments.some((name) => !this.#known.has(name)) && this.memory.instruments !== instruments)
      this.#ask();
  }

  async #refresh() {
    const { instruments } = this.memory;
    if (this.#account === null || instruments.length === 0 || this.#isRefreshing || this.#cooling() > 0) return;
    this.#isRefreshing = true;
    this.#render();
    const isDone = await this.#take("refresh", () => this.api.post("refresh", { account: this.#account, instruments }));
    this.#isRefreshing = false;
    if (isDone) this.#coolUntil = Date.now() + this.coolDown * 1000;
    this.#render();
  }

  #cooling() {
    return (this.#coolUntil - Date.now()) / 1000;
  }

  async #take(source, request) {
    const account = this.#account;
    try {
      const answer = await request();
      if (account !== this.#account) return false;
      const at = Date.now();
      for (const price of answer?.prices ?? []) {
        // Of two answers that cross, the one with the later price counts.
        const known = this.#known.get(price.instrument)?.price;
        if (!known || !(Date.parse(known.fetched_at) > Date.parse(price.fetched_at)))
          this.#known.set(price.instrument, { price, at });
      }
      for (const name of answer?.absent ?? []) this.#known.set(name, { price: null, at });
      this.#forget();
      this.#complain("", source);
      return true;
    } catch (error) {
      if (error.retryAfter != null) this.#coolUntil = Date.now() + error.retryAfter * 1000;
      this.#complain(error.message, source);
      return false;
    } finally {
      this.#render();
    }
  }

  #render() {
    const now = Date.now();
    const { instruments } = this.memory;
    const rows = instruments.map((name) => ({ name, known: this.#known.get(name), now }));
    keyed(
      byId("price-rows"),
      rows,
      ({ name }) => name,
      (row) => this.#createRow(row),
    );
    show(byId("price-table"), rows.length > 0);
    show(byId("no-prices"), rows.length === 0);
    const cooling = this.#cooling();
    const isOff = cooling > 0 || this.#isRefreshing || rows.length === 0;
    // `aria-disabled`, because a button that is disabled loses the focus.
    attr(this.button, "aria-disabled", isOff ? "true" : null);
    if (cooling <= 0 && this.#isCooling) this.#complain("", "refresh");
    this.#isCooling = cooling > 0;
    text(this.button, cooling > 0 ? `Refresh in ${countdown(cooling)}` : "Refresh");
  }

  #createRow({ name }) {
    const [value, origin] = [
      el("span.price", { "data-testid": "price-value" }),
      el("span.price-origin", { "data-testid": "price-origin" }),
    ];
    const remove = el(
      "button.button.small",
      { type: "button", onclick: () => this.#remove(name), "data-testid": "price-remove" },
      el("span", { "aria-hidden": "true" }, "×"),
      el("span.unseen", {}, `Remove ${name}`),
    );
    const node = el(
      "tr",
      { "data-testid": "price", "data-instrument": name },
      el("th", { scope: "row" }, name),
      el("td.num", {}, el("div.price-line", {}, value, origin)),
      el("td.price-remove", {}, remove),
    );
    node.update = ({ known, now }) => {
      text(value, known?.price?.last_price ?? NONE);
      const isAbsent = known && known.price === null;
      const said = known?.price ? originText(known.price, (now - known.at) / 1000) : "not asked yet";
      text(origin, isAbsent ? "the broker does not know it" : said);
      attr(origin, "data-tone", isAbsent ? "warn" : said.startsWith("fresh") ? "accent" : null);
    };
    return node;
  }
}
