// The top of the page: health, connection, uptime, the switch of accounts, and the banners.

import { count, duration, plural, timeOfDay } from "./format.js";
import { BannerMemory, banners, healthOf, sharedText } from "./health.js";
import { attr, byId, el, keyed, show, text } from "./dom.js";

/** How long a banner stays after its cause has ended, in milliseconds. */
const LINGER = 4_000;

/** Without an event for this long the data is stale, in seconds. The gateway sends the status once a second. */
const STALE = 4;

/** Tells a screen reader what happened, in one polite sentence at a time. */
export class Announcer {
  #waiting = [];
  #timer = null;

  say = (sentence) => {
    if (this.#waiting.length < 3) this.#waiting.push(sentence);
    this.#timer ??= setTimeout(() => {
      text(byId("announcer"), this.#waiting.join(". "));
      this.#waiting = [];
      this.#timer = null;
    }, 800);
  };
}

/** The connection to the gateway: what the stream says, and how old the data is. */
export class Connection {
  #state = { name: "connecting" };
  #heardAt = null;

  set(state) {
    this.#state = { ...state, until: Date.now() + (state.wait ?? 0) };
    this.tick();
  }

  heard() {
    this.#heardAt = Date.now();
    this.tick();
  }

  tick() {
    const age = this.#heardAt === null ? null : (Date.now() - this.#heardAt) / 1000;
    const isSilent = this.#state.name === "live" && age !== null && age > STALE;
    const isStale = age !== null && (this.#state.name !== "live" || isSilent) && age > 1.5;
    attr(document.body, "data-stale", isStale);
    const tone = this.#state.name === "live" && !isSilent ? "good" : this.#state.name === "denied" ? "bad" : "warn";
    attr(byId("link"), "data-tone", tone);
    text(byId("link-word"), this.#word(isSilent));
    text(byId("link-detail"), this.#detail(age, isStale));
  }

  #word(isSilent) {
    const words = {
      connecting: "connecting",
      live: "live",
      waiting: "reconnecting",
      denied: "key needed",
      stopped: "stopped",
      gone: "no stream",
    };
    return isSilent ? "silent" : words[this.#state.name];
  }

  #detail(age, isStale) {
    const { name, reason, until } = this.#state;
    const parts = [];
    if (name === "waiting") parts.push(`${reason}, next try in ${duration(Math.max(0, (until - Date.now()) / 1000))}`);
    if (name === "stopped") parts.push("while the page is hidden");
    if (isStale) parts.push(`data of ${timeOfDay(this.#heardAt)}, ${duration(age)} old`);
    return parts.join("; ");
  }
}

export class Top {
  #memory = new BannerMemory(LINGER);
  #said = new Set();

  /**
   * @param {(text: string) => void} announce
   * @param {(name: string) => void} onAccount called when another account is chosen
   * @param {(action: string) => void} onAction called by the button of a banner
   */
  constructor(announce, onAccount, onAction) {
    this.announce = announce;
    this.onAccount = onAccount;
    this.onAction = onAction;
  }

  update(status, account) {
    const { word, tone } = healthOf(status.health);
    text(byId("health-word"), word);
    attr(byId("health"), "data-tone", tone);
    show(byId("uptime-line"), true);
    text(byId("uptime"), duration(status.uptime));
    text(byId("version"), status.version ?? "");
    text(byId("upstream"), [account.preset, account.upstream, sharedText(account.shared)].filter(Boolean).join(", "));
    const { connections = 0, requests = 0, in_progress: inProgress = 0 } = status.door ?? {};
    const answered = `${count(inProgress)} of ${plural(requests, "request")} in progress`;
    text(byId("door"), `${plural(connections, "connection")}, ${answered}`);
    show(byId("open-door"), Boolean(status.is_loopback_open));
    const title = status.health === "ok" ? "lanekeeper" : `${word} · lanekeeper`;
    if (document.title !== title) document.title = title;
    this.#showAccounts(status.accounts, account);
    this.#showBanners(account);
  }

  #showAccounts(accounts, chosen) {
    show(byId("accounts"), accounts.length > 1);
    const items = accounts.length > 1 ? accounts : [];
    keyed(
      byId("account-list"),
      items,
      ({ name }) => name,
      ({ name }) => {
        const health = el("span.unseen");
        const button = el(
          "button.account",
          { type: "button", "data-testid": "account", onclick: () => this.onAccount(name) },
          el("span.light", { "aria-hidden": "true" }),
          el("span", {}, name),
          health,
        );
        const node = el("li", {}, button);
        node.update = (account) => {
          const { word, tone } = healthOf(account.health);
          attr(button, "data-tone", tone);
          attr(button, "aria-pressed", String(account.name === chosen.name));
          text(health, `, ${word}`);
        };
        return node;
      },
    );
  }

  #showBanners(account) {
    const shown = this.#memory.update(banners(account), Date.now());
    keyed(
      byId("banner-list"),
      shown,
      ({ about }) => about,
      (banner) => this.#createBanner(banner),
    );
    show(byId("banner"), shown.length > 0);
    // The numbers in a banner tick. A screen reader is told only that a cause came, or that all are gone.
    const causes = new Map(shown.map((banner) => [`${account.name} ${banner.about} ${banner.cause}`, banner]));
    for (const [key, { title, text: detail }] of causes) {
      if (!this.#said.has(key)) this.announce(`${title}. ${detail}`);
    }
    if (this.#said.size > 0 && shown.length === 0) this.announce("Calls pass again");
    this.#said = new Set(causes.keys());
  }

  #createBanner({ action }) {
    const [title, detail] = [el("strong.banner-title"), el("span.banner-text")];
    const node = el("li.banner", { "data-testid": "banner-item" }, el("p", {}, title, " ", detail));
    if (action === "login") {
      node.append(
        el("button.button", { type: "button", "data-testid": "login", onclick: () => this.onAction(action) }, "Log in"),
      );
    }
    node.update = (banner) => {
      text(title, banner.title);
      text(detail, banner.isOver ? "This is over." : banner.text);
      attr(node, "data-tone", banner.isOver ? "quiet" : banner.tone);
    };
    return node;
  }
}
