// What the status means, in words: the health light, the banners, and the states of lanes, meters and breakers.
// Pure functions of the status object.

import { count, duration, plural, words } from "./format.js";

/** The word, and the tone (a colour) of each health. */
const HEALTH = new Map([
  ["ok", ["ok", "good"]],
  ["limited", ["limited", "warn"]],
  ["paused", ["paused", "warn"]],
  ["session_expired", ["session expired", "bad"]],
  ["broker_down", ["broker down", "bad"]],
  ["draining", ["draining", "quiet"]],
]);

/** @returns {{word: string, tone: "good" | "warn" | "bad" | "quiet"}} */
export function healthOf(name) {
  const [word, tone] = HEALTH.get(name) ?? [words(name), "quiet"];
  return { word, tone };
}

/**
 * A wait above this, in seconds, is worth a banner. A lane of one call a second makes a single call wait for nearly a
 * second, so it is longer for slow lanes.
 */
const longWait = ({ rate }) => Math.max(1, 1.5 / (rate ?? Infinity));

const isShut = (state) => state === "open";

/** The route classes of a lane whose breaker lets no call pass. */
export function openBreakers(lane) {
  const open = Object.entries(lane.breakers ?? {})
    .filter(([, state]) => isShut(state))
    .map(([route]) => route);
  return open.length === 0 && isShut(lane.breaker) ? [""] : open;
}

/** The state of a lane in a few words, with its tone. `onlyExits` is set while the shared quota sends nothing else. */
export function laneState(lane, onlyExits = false) {
  if (lane.state === "closed" || lane.state === "draining") return { word: lane.state, tone: "quiet" };
  if (lane.state === "paused") return { word: "paused by hand", tone: "warn" };
  if (onlyExits) return { word: "only exits", tone: "bad" };
  if (lane.paused_for != null) return { word: `broker asked for a pause, ${duration(lane.paused_for)}`, tone: "warn" };
  if (openBreakers(lane).length > 0) return { word: "broker down", tone: "bad" };
  if ((lane.rate_percent ?? 100) < 100) return { word: `rate cut to ${lane.rate_percent} %`, tone: "warn" };
  if (isLate(lane)) return { word: "calls wait", tone: "warn" };
  return { word: words(lane.state), tone: "good" };
}

/** The priority of scans: calls that go out when no other call waits. */
const LOWEST = "10";

/**
 * Whether calls wait for long. Calls of the lowest priority are meant to, so they do not count, and nor does the oldest
 * wait while there are some, since it may be theirs.
 */
function isLate(lane) {
  const lowest = lane.queued_by_priority?.[LOWEST] ?? 0;
  if (lane.queued <= lowest) return false;
  const isLong = (wait) => (wait ?? 0) > longWait(lane);
  return isLong(lane.estimated_wait) || (lowest === 0 && isLong(lane.oldest_wait));
}

/** The window of a lane that frees its next slot last: it is the one that calls wait for. */
export function bindingWindow(lane) {
  const later = (one, other) => ((other.next_free ?? Infinity) > (one?.next_free ?? -1) ? other : one);
  return (lane.windows ?? []).reduce(later, null);
}

function waiting(lane) {
  if (!(lane.queued > 0)) return "No call waits";
  return `${plural(lane.queued, "call")} ${lane.queued === 1 ? "waits" : "wait"} in ${lane.lane}`;
}

function estimate(lane) {
  if (lane.estimated_wait == null) return "how long a new call would wait is not known";
  if (lane.estimated_wait < 0.05) return "a new call goes out at once";
  return `a new call would wait about ${duration(lane.estimated_wait)}`;
}

function reset(lane) {
  const window = bindingWindow(lane);
  if (!window) return "";
  if (window.resets == null) return ` ${window.window} is free again once the calls in flight end.`;
  return ` ${window.window} is free again in ${duration(window.resets)}.`;
}

/**
 * @typedef {{about: string, cause: string, tone: "warn" | "bad" | "quiet", title: string, text: string,
 *   action?: "login"}} Banner
 * `about` is the lane, or what else it is about (a word after a space, which no lane begins with); there is one banner
 * for each. `cause` stays the same while the numbers in `text`
 * change.
 */

/** @returns {Banner | null} */
function laneBanner(lane) {
  const name = lane.lane;
  const open = openBreakers(lane);
  if (lane.state === "paused") {
    const text = `${waiting(lane)}, and every new call will, exits too. Calls in flight go on.`;
    return { about: name, cause: "paused", tone: "warn", title: `${name} is paused by hand`, text };
  }
  if (lane.state === "draining" || lane.state === "closed") {
    const text =
      lane.state === "draining"
        ? `New calls are refused, those that wait are still sent. ${waiting(lane)}.`
        : "No call is taken or sent.";
    return { about: name, cause: lane.state, tone: "quiet", title: `${name} is ${lane.state}`, text };
  }
  if (open.length > 0) {
    const routes = open.filter(Boolean).map(words).join(", ") || "all calls";
    const text =
      `Too many calls failed: ${routes}. They are held or refused until the broker answers again, ` +
      `but exits are tried. ${waiting(lane)}.`;
    return { about: name, cause: "down", tone: "bad", title: `${name}: the broker is down`, text };
  }
  if (lane.paused_for != null) {
    const text = `It goes on in ${duration(lane.paused_for)}. ${waiting(lane)}; ${estimate(lane)}.`;
    return { about: name, cause: "throttled", tone: "warn", title: `${name}: the broker asked for a pause`, text };
  }
  if ((lane.rate_percent ?? 100) < 100) {
    const text = `The broker said that calls come too fast. ${waiting(lane)}; ${estimate(lane)}.`;
    return {
      about: name,
      cause: "cut",
      tone: "warn",
      title: `${name} runs at ${lane.rate_percent} % of its rate`,
      text,
    };
  }
  if (isLate(lane)) {
    const text = `${waiting(lane)}; ${estimate(lane)}.${reset(lane)}`;
    return { about: name, cause: "late", tone: "warn", title: `${name} is at its limit`, text };
  }
  return null;
}

/** How the quota is shared with other processes, in a few words. Empty if it is not. */
export function sharedText(shared) {
  if (!shared) return "";
  if (shared.mode === "share" || shared.mode === "stopped") return "shared quota, Redis is away";
  if (shared.mode !== "shared") return `shared quota: ${words(shared.mode)}`;
  return shared.processes > 1 ? `quota shared by ${plural(shared.processes, "process", "processes")}` : "shared quota";
}

/** @returns {Banner | null} */
function sharedBanner({ shared, lanes = [] }) {
  const banner = (tone, title, text) => ({ about: " shared", cause: shared.mode, tone, title, text });
  const since = duration(shared?.mode_for ?? 0);
  const share = shared?.processes > 1 ? `share of the quota, one of ${count(shared.processes)}` : "share of the quota";
  const queued = lanes.reduce((sum, lane) => sum + (lane.queued ?? 0), 0);
  switch (shared?.mode) {
    case "share":
      return banner(
        "warn",
        "Redis is away",
        `For ${since} the gateway has kept to its ${share}. Calls wait for longer than usual.`,
      );
    case "stopped":
      return banner(
        "bad",
        "Redis is away",
        `For ${since} only exits have been sent. Every other call waits${queued > 0 ? `: ${count(queued)} now` : ""}.`,
      );
    case "returning":
      return banner("quiet", "Redis is back", "It is told what was sent meanwhile. Then calls go on.");
    default:
      return null;
  }
}

/**
 * What to tell about an account, the gravest first.
 * @returns {Banner[]}
 */
export function banners(account) {
  const shared = sharedBanner(account);
  // While only exits are sent, a lane is late for no reason of its own.
  const isOther = ({ cause }) => shared?.cause !== "stopped" || cause !== "late";
  const found = (account.lanes ?? []).map(laneBanner).filter(Boolean).filter(isOther);
  if (account.session_expired) {
    found.unshift({
      about: " session",
      cause: "session",
      tone: "bad",
      title: "The broker does not accept the session",
      action: "login",
      text: "Log in again. Until then only exits are tried.",
    });
  }
  if (shared) found.unshift(shared);
  const { unknown = 0, pending = 0 } = account.orders ?? {};
  if (unknown > 0 && pending > 0) {
    found.unshift({
      about: " orders",
      cause: "unknown",
      tone: "bad",
      title: "Check the order book",
      text: `The outcome of ${plural(unknown, "order")} is not known.`,
    });
  }
  const order = ["bad", "warn", "quiet"];
  return found.sort((one, other) => order.indexOf(one.tone) - order.indexOf(other.tone));
}

/** Keeps banners for a while after their cause ended, so that a cause that comes and goes does not flicker. */
export class BannerMemory {
  #shown = new Map();

  /** @param {number} linger how long a banner stays without its cause, in milliseconds */
  constructor(linger) {
    this.linger = linger;
  }

  /**
   * Returns what to show: what holds now, and what held a moment ago, which has `isOver: true`.
   * @param {Banner[]} current
   * @param {number} now in milliseconds
   */
  update(current, now) {
    const held = new Set(current.map(({ about }) => about));
    for (const banner of current) this.#shown.set(banner.about, { banner, at: now });
    for (const [about, { at }] of this.#shown) {
      if (now - at > this.linger) this.#shown.delete(about);
    }
    const over = [...this.#shown.values()].map(({ banner }) => banner).filter(({ about }) => !held.has(about));
    return [...current, ...over.map((banner) => ({ ...banner, isOver: true }))];
  }
}

/** How full a window of a budget is: near from 80 %, then only for urgent calls, then full. */
export function fullness(window) {
  if (window.left <= 0) return { word: "full", tone: "bad" };
  if (window.reserve > 0 && window.left <= window.reserve) {
    return { word: `only exits, ${count(window.left)} left`, tone: "bad" };
  }
  if (window.limit > 0 && window.used >= 0.8 * window.limit) {
    return { word: `near, ${count(window.left)} left`, tone: "warn" };
  }
  return { word: `${count(window.left)} left`, tone: "good" };
}

/** A reset that is farther off than this, in seconds, is not moved much by a call in flight. */
const FAR = 60;

/**
 * When a window is free again, in words. While calls are in flight the gateway does not know it, so what it said last
 * counts if that is far off.
 * @param {number | null} known how long the reset is off by what was said last, in seconds
 */
export function resetText(window, known = null) {
  if (window.used === 0) return "unused";
  const resets = window.resets ?? (known > FAR ? known : null);
  return resets === null ? "resets on answer" : `resets in ${duration(resets)}`;
}

/** The state of a breaker, with its tone. */
export function breakerState(state) {
  if (isShut(state)) return { word: words(state), tone: "bad" };
  return { word: words(state), tone: state === "closed" ? "good" : "warn" };
}

/** The part of a cache's lookups that needed no request of their own; `null` before the first. */
export function hitRate(cache) {
  const hits = (cache.hits ?? 0) + (cache.joined ?? 0);
  const all = hits + (cache.misses ?? 0);
  return all === 0 ? null : hits / all;
}

/** The shares of clients in all requests, for the table: adds `share`, from 0 to 1. */
export function withShares(clients) {
  const all = clients.reduce((sum, client) => sum + (client.requests ?? 0), 0);
  return clients.map((client) => ({ ...client, share: all === 0 ? 0 : (client.requests ?? 0) / all }));
}

/** The lane in one sentence, as the text alternative of its chart. */
export function chartText(lane, { calls, refused }, seconds) {
  const known = calls.filter((value) => !Number.isNaN(value));
  if (known.length === 0) return `Calls a second in ${lane.lane}: no data yet`;
  const highest = Math.max(...known);
  const losses = refused.filter((value) => value > 0).length;
  const limit = lane.rate == null ? "no limit" : `the limit is ${lane.rate.toFixed(1)}`;
  const now = known[known.length - 1].toFixed(1);
  return (
    `Calls a second in ${lane.lane}, the last ${seconds} s: ${now} now, ${highest.toFixed(1)} at most; ${limit}. ` +
    (losses === 0 ? "No call was refused." : `Calls were refused in ${plural(losses, "second")}.`)
  );
}
