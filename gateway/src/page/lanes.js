// The cards of the lanes: the rate, the windows, the queue, and the button that pauses the lane.

import { count, decimal, duration, plural, roundTrip, ticking, words } from "./format.js";
import { breakerState, chartText, laneState } from "./health.js";
import { createChart } from "./chart.js";
import { createMeter } from "./meter.js";
import { attr, el, keyed, show, text, variable } from "./dom.js";
import { RateRing, smooth } from "./ring.js";

/** How many seconds a chart shows. */
const SECONDS = 120;

/** How many users a card names. The others are summed up. */
const USERS = 4;

/** How long a user stays in the list after its last queued call, in milliseconds, so that the list is calm. */
const USER_STAYS = 8_000;

const PRIORITIES = Array.from({ length: 10 }, (_, index) => String(index + 1));

/**
 * Over how many seconds a rate is averaged: two, and more if they have few calls. Otherwise a lane of one call a second
 * would jump between none and two.
 */
export function meanOver(rate) {
  return rate == null ? 2 : Math.max(2, Math.min(15, Math.ceil(5 / rate)));
}

/** The rates of all lanes of all accounts. Lanes that the status no longer has are forgotten. */
export class Rates {
  #rings = new Map();

  record(status) {
    const seconds = Date.parse(status.at) / 1000;
    const seen = new Set();
    for (const account of status.accounts ?? []) {
      for (const lane of account.lanes ?? []) {
        const key = JSON.stringify([account.name, lane.lane]);
        seen.add(key);
        if (!this.#rings.has(key)) this.#rings.set(key, new RateRing(SECONDS));
        this.#rings.get(key).push(seconds, lane.calls_per_second ?? NaN, lane.refused_per_second ?? 0);
      }
    }
    for (const key of this.#rings.keys()) {
      if (!seen.has(key)) this.#rings.delete(key);
    }
  }

  of(account, lane) {
    return (this.#rings.get(JSON.stringify([account, lane])) ?? new RateRing(SECONDS)).values();
  }
}

/**
 * The users to list: those with most calls, and those who had some a moment ago. A user keeps its place until another
 * has more than twice its calls, so that the rows can be read.
 * @param {Map<string, number>} seen when each user of the list last had a queued call; changed by this function
 * @returns {{user: string, queued: number}[]} at most `USERS`, and then the rest under the user `null`
 */
export function listUsers(queuedByUser, seen, now) {
  const queued = new Map(Object.entries(queuedByUser ?? {}));
  const queuedOf = (user) => queued.get(user) ?? 0;
  const waiting = [...queued.keys()].filter((user) => queuedOf(user) > 0);
  const places = [...seen.keys()].filter((user) => queuedOf(user) > 0 || now - seen.get(user) <= USER_STAYS);
  for (const user of waiting.sort((one, other) => queuedOf(other) - queuedOf(one))) {
    if (places.includes(user)) continue;
    if (places.length < USERS) {
      places.push(user);
      continue;
    }
    const least = places.reduce((one, other) => (queuedOf(other) < queuedOf(one) ? other : one));
    if (queuedOf(user) <= 2 * queuedOf(least)) break;
    places[places.indexOf(least)] = user;
  }
  const times = places.map((user) => [user, queuedOf(user) > 0 ? now : seen.get(user)]);
  seen.clear();
  for (const [user, at] of times) seen.set(user, at);
  const listed = places.map((user) => ({ user, queued: queuedOf(user) }));
  const others = waiting.filter((user) => !seen.has(user));
  if (others.length === 0) return listed;
  return [
    ...listed,
    { user: null, others: others.length, queued: others.reduce((sum, user) => sum + queuedOf(user), 0) },
  ];
}

function createUserRow() {
  const [name, number] = [el("span.bar-name"), el("span.bar-number")];
  const bar = el("span.bar", { "aria-hidden": "true" });
  const node = el("li.bar-row", {}, name, bar, number);
  node.update = ({ user, others, queued, most }) => {
    text(name, user === null ? plural(others, "other") : user || "without a name");
    attr(name, "title", user || null);
    text(number, count(queued));
    variable(bar, "--part", most > 0 ? queued / most : 0);
    attr(node, "data-empty", queued === 0);
  };
  return node;
}

function createPriorities() {
  const columns = PRIORITIES.map((priority) => {
    const column = el("span.column");
    return { priority, column, number: el("span.column-number"), node: null };
  });
  const node = el("div.columns", { role: "img" });
  for (const each of columns) {
    each.node = el(
      "span.column-slot",
      { "aria-hidden": "true" },
      el("span.column-track", {}, each.number, each.column),
      el("span.column-name", {}, each.priority),
    );
    node.append(each.node);
  }
  node.update = (byPriority) => {
    const queued = columns.map(({ priority }) => byPriority?.[priority] ?? 0);
    const most = Math.max(...queued, 1);
    columns.forEach(({ column, number, node: slot }, index) => {
      variable(column, "--part", queued[index] / most);
      text(number, queued[index] > 0 ? count(queued[index]) : "");
      attr(slot, "data-empty", queued[index] === 0);
    });
    const known = PRIORITIES.filter((_, index) => queued[index] > 0);
    const parts = known.map((priority) => `priority ${priority}: ${byPriority[priority]}`);
    attr(node, "aria-label", `Queue by priority: ${parts.join(", ") || "empty"}. Priority 1 is for exits.`);
  };
  return node;
}

function createFact(label) {
  const value = el("dd");
  const node = el("div.fact", {}, el("dt", {}, label), value);
  node.set = (content, tone = null) => {
    text(value, content);
    attr(value, "data-tone", tone);
  };
  return node;
}

/**
 * Creates the card of a lane.
 * @param {{account: string, lane: {lane: string}}} item
 * @param {(account: string, lane: object) => void} onToggle called to pause the lane, or to resume it
 */
export function createLaneCard({ account, lane: { lane: name } }, onToggle) {
  const heading = el("h3.lane-name", {}, name);
  const state = el("span.state", { "data-testid": "lane-state" });
  const verb = el("span");
  const button = el(
    "button.button.small",
    { type: "button", "data-testid": "lane-toggle" },
    verb,
    el("span.unseen", {}, ` ${name}`),
  );
  const now = el("span.lane-rate", { "data-testid": "lane-rate" });
  const quota = el("span.lane-quota");
  const totals = el("p.lane-totals");
  const chart = createChart(SECONDS);
  const windows = el("div.meters");
  const facts = {
    queue: createFact("Queue"),
    oldest: createFact("Oldest wait"),
    estimate: createFact("A new call waits"),
    flight: createFact("In flight"),
    retrying: createFact("To retry"),
    answer: createFact("Answer takes"),
  };
  const users = el("ul.bars");
  const noUsers = el("p.quiet", {}, "No call waits.");
  const priorities = createPriorities();
  const breakers = el("ul.breakers");
  const queue = el(
    "div.queue",
    {},
    el("section.queue-part", {}, el("h4", {}, "Queue by user"), el("div.bars-box", {}, users, noUsers)),
    el("section.queue-part", {}, el("h4", {}, "Queue by priority"), priorities),
  );
  const node = el(
    "article.card.lane",
    { "data-testid": "lane", "data-lane": name },
    el("header.lane-head", {}, heading, state, button),
    el("div.lane-now", {}, el("p.lane-figure", {}, now, quota), totals),
    chart,
    windows,
    el("dl.facts", {}, ...Object.values(facts)),
    queue,
    el("section.breaker-part", {}, el("h4", {}, "Breakers"), breakers),
  );
  const seen = new Map();
  let shown = null;
  button.addEventListener("click", () => onToggle(account, shown));

  node.update = ({ lane, onlyExits, ring: raw }) => {
    shown = lane;
    const ring = { ...raw, calls: smooth(raw.calls, meanOver(lane.rate)) };
    const { word, tone } = laneState(lane, onlyExits);
    text(state, word);
    attr(state, "data-tone", tone);
    attr(node, "data-state", lane.state);
    text(verb, lane.state === "paused" ? "Resume" : "Pause");
    show(button, lane.state === "running" || lane.state === "paused");
    attr(button, "data-strong", lane.state === "paused");
    const latest = ring.calls[ring.calls.length - 1];
    text(now, ticking(Number.isNaN(latest) ? lane.calls_per_second : latest, lane.rate ?? 1));
    text(quota, lane.rate == null ? "calls/s, no limit" : `of ${decimal(lane.rate)} calls/s`);
    text(totals, `${count(lane.answered)} answered, ${count(lane.refused)} refused`);
    chart.update({ ring, limit: lane.rate, percent: lane.rate_percent ?? 100, label: chartText(lane, ring, SECONDS) });
    keyed(
      windows,
      lane.windows ?? [],
      (each) => `${each.window} ${each.is_cut}`,
      () => createMeter(name, false),
    );
    facts.queue.set(`${count(lane.queued)} of ${count(lane.capacity)}`, lane.queued >= lane.capacity ? "bad" : null);
    facts.oldest.set(lane.queued > 0 ? duration(lane.oldest_wait) : "none");
    facts.estimate.set(onlyExits ? "for Redis" : estimateText(lane));
    facts.flight.set(`${count(lane.in_flight)} of ${count(lane.max_in_flight)}`);
    facts.retrying.set(count(lane.retrying), lane.retrying > 0 ? "warn" : null);
    facts.answer.set(roundTrip(lane.round_trip));
    const listed = listUsers(lane.queued_by_user, seen, Date.now());
    const most = Math.max(...listed.map((each) => each.queued), 1);
    show(noUsers, listed.length === 0);
    attr(queue, "data-empty", listed.length === 0);
    keyed(
      users,
      listed.map((each) => ({ ...each, most })),
      ({ user }) => JSON.stringify(user),
      createUserRow,
    );
    priorities.update(lane.queued_by_priority);
    updateBreakers(breakers, lane);
  };
  return node;
}

/** How long a new call would wait, in words. */
function estimateText({ state, estimated_wait: wait }) {
  if (state === "paused") return "until resumed";
  if (wait == null) return "not known";
  return wait < 0.05 ? "not at all" : `about ${duration(wait)}`;
}

function updateBreakers(list, lane) {
  const states = Object.entries(lane.breakers ?? {}).map(([route, state]) => ({ route, state }));
  const all = states.length > 0 ? states : [{ route: "all calls", state: lane.breaker ?? "unknown" }];
  keyed(
    list,
    all,
    ({ route }) => route,
    ({ route }) => {
      const word = el("span.breaker-state");
      const node = el("li.breaker", {}, el("span.breaker-name", {}, words(route)), word);
      node.update = ({ state }) => {
        const { word: said, tone } = breakerState(state);
        text(word, said);
        attr(node, "data-tone", tone);
      };
      return node;
    },
  );
}
