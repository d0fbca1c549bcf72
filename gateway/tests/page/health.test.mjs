// What the page says of a status: the banners, the states of lanes and meters.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  BannerMemory,
  banners,
  bindingWindow,
  chartText,
  fullness,
  healthOf,
  hitRate,
  laneState,
  openBreakers,
  resetText,
  sharedText,
  withShares,
} from "../../src/page/health.js";

const lane = (changes = {}) => ({
  lane: "transactional",
  state: "running",
  queued: 0,
  oldest_wait: null,
  estimated_wait: 0,
  paused_for: null,
  rate: 10,
  rate_percent: 100,
  breaker: "closed",
  breakers: { order_writes: "closed" },
  windows: [{ window: "10/s", next_free: 0.1, resets: 0.9 }],
  ...changes,
});
const account = (changes = {}, others = {}) => ({
  name: "main",
  session_expired: false,
  lanes: [lane(changes)],
  ...others,
});

test("an account without trouble has no banner", () => {
  assert.deepEqual(banners(account()), []);
  assert.deepEqual(banners(account({ queued: 5, oldest_wait: 0.4, estimated_wait: 0.5 })), []);
});

test("a slow lane makes a single call wait, which is no reason for a banner", () => {
  const slow = { rate: 1, queued: 1, oldest_wait: 0.9, estimated_wait: 1.4 };
  assert.deepEqual(banners(account(slow)), []);
  assert.equal(banners(account({ ...slow, estimated_wait: 1.6 })).length, 1);
  assert.equal(banners(account({ ...slow, rate: null })).length, 1);
});

test("calls of a scan may wait, and are no reason for a banner", () => {
  const late = { queued: 3, oldest_wait: 8, estimated_wait: 0.2 };
  assert.deepEqual(banners(account({ ...late, queued_by_priority: { 10: 3 } })), []);
  assert.deepEqual(banners(account({ ...late, queued_by_priority: { 5: 1, 10: 2 } })), []);
  assert.equal(banners(account({ ...late, queued_by_priority: { 5: 3 } })).length, 1);
  assert.equal(banners(account({ ...late, estimated_wait: 1.2, queued_by_priority: { 5: 1, 10: 2 } })).length, 1);
});

test("a lane at its limit says how many calls wait, how long a new one would, and when the window is free", () => {
  const [banner] = banners(account({ queued: 14, oldest_wait: 1.2, estimated_wait: 1.4 }));
  assert.equal(
    banner.text,
    "14 calls wait in transactional; a new call would wait about 1.4 s. 10/s is free again in 0.9 s.",
  );
  assert.equal(banner.tone, "warn");
});

test("a paused lane says that exits wait too", () => {
  const [banner] = banners(account({ state: "paused", queued: 1 }));
  assert.equal(
    banner.text,
    "1 call waits in transactional, and every new call will, exits too. Calls in flight go on.",
  );
});

test("a pause that the broker asked for says when it ends", () => {
  const [banner] = banners(account({ paused_for: 2.5, queued: 3, estimated_wait: 2.9 }));
  assert.equal(banner.text, "It goes on in 2.5 s. 3 calls wait in transactional; a new call would wait about 2.9 s.");
});

test("a rate cut names the rate", () => {
  const [banner] = banners(account({ rate_percent: 70 }));
  assert.equal(banner.title, "transactional runs at 70 % of its rate");
  assert.match(banner.text, /No call waits; a new call goes out at once/);
});

test("an open breaker lets exits be tried", () => {
  const open = banners(account({ breaker: "open", breakers: { order_writes: "open", order_reads: "closed" } }))[0];
  assert.match(open.text, /order writes\. .*exits are tried/);
  assert.equal(open.tone, "bad");
});

test("an expired session comes first, and asks for a login", () => {
  const [first, second] = banners(account({ rate_percent: 70 }, { session_expired: true }));
  assert.equal(first.action, "login");
  assert.equal(second.cause, "cut");
});

test("orders of unknown outcome send to the order book while they are looked for", () => {
  assert.equal(banners(account({}, { orders: { unknown: 2, pending: 1 } }))[0].title, "Check the order book");
  assert.deepEqual(banners(account({}, { orders: { unknown: 2, pending: 0 } })), []);
  assert.deepEqual(banners(account({}, { orders: null })), []);
});

test("a banner stays for a moment after its cause, and then goes away by itself", () => {
  const memory = new BannerMemory(4000);
  const [banner] = banners(account({ rate_percent: 70 }));
  assert.deepEqual(memory.update([banner], 0), [banner]);
  assert.deepEqual(memory.update([], 3000), [{ ...banner, isOver: true }]);
  assert.deepEqual(memory.update([], 4001), []);
});

test("a lane has one banner, whatever comes after what", () => {
  const memory = new BannerMemory(4000);
  memory.update(banners(account({ paused_for: 1 })), 0);
  const shown = memory.update(banners(account({ rate_percent: 70 })), 1000);
  assert.deepEqual(
    shown.map(({ cause }) => cause),
    ["cut"],
  );
});

test("a health that the page does not know is shown by its name", () => {
  assert.deepEqual(healthOf("session_expired"), { word: "session expired", tone: "bad" });
  assert.deepEqual(healthOf("some_thing"), { word: "some thing", tone: "quiet" });
  assert.equal(healthOf("constructor").word, "constructor");
});

test("the state of a lane names what holds calls up", () => {
  const word = (changes) => laneState(lane(changes)).word;
  assert.equal(word({}), "running");
  assert.equal(word({ state: "paused" }), "paused by hand");
  assert.equal(word({ state: "draining", queued: 3 }), "draining");
  assert.equal(word({ paused_for: 2.5 }), "broker asked for a pause, 2.5 s");
  assert.equal(word({ breaker: "open", breakers: {} }), "broker down");
  assert.equal(word({ queued: 3, oldest_wait: 2 }), "calls wait");
});

test("breakers that let calls pass are not open", () => {
  assert.deepEqual(openBreakers(lane({ breakers: { a: "half_open", b: "disabled", c: "closed" } })), []);
  assert.deepEqual(openBreakers(lane({ breaker: "open", breakers: {} })), [""]);
  assert.deepEqual(openBreakers({ lane: "bare" }), []);
});

test("calls wait for the window that frees its next slot last", () => {
  const windows = [
    { window: "10/s", next_free: 0.1 },
    { window: "400/min", next_free: 20 },
  ];
  assert.equal(bindingWindow(lane({ windows })).window, "400/min");
  assert.equal(bindingWindow(lane({ windows: [...windows, { window: "5/s", next_free: null }] })).window, "5/s");
  assert.equal(bindingWindow(lane({ windows: [] })), null);
});

test("a budget is near from 80 %, then only for exits, then full", () => {
  const tone = (used, reserve) => fullness({ limit: 400, used, left: 400 - used, reserve }).tone;
  assert.deepEqual(
    [tone(319, 20), tone(320, 20), tone(379, 20), tone(380, 20), tone(400, 20)],
    ["good", "warn", "warn", "bad", "bad"],
  );
  assert.equal(fullness({ limit: 400, used: 385, left: 15, reserve: 20 }).word, "only exits, 15 left");
  assert.equal(fullness({ limit: 400, used: 400, left: 0, reserve: 20 }).word, "full");
});

test("a window says when it resets", () => {
  assert.equal(resetText({ used: 0, resets: 0 }), "unused");
  assert.equal(resetText({ used: 3, resets: 52 }), "resets in 52 s");
  assert.equal(resetText({ used: 3, resets: null }), "resets on answer");
  assert.equal(resetText({ used: 3, resets: null }, 59), "resets on answer");
  assert.equal(resetText({ used: 3, resets: null }, 7200), "resets in 2 h 00 min");
});

test("a cache that was not asked has no rate", () => {
  assert.equal(hitRate({ hits: 0, misses: 0, joined: 0 }), null);
  assert.equal(hitRate({ hits: 2, misses: 1, joined: 1 }), 0.75);
});

test("shares are of all requests", () => {
  assert.deepEqual(
    withShares([{ requests: 3 }, { requests: 1 }]).map(({ share }) => share),
    [0.75, 0.25],
  );
  assert.deepEqual(
    withShares([{ requests: 0 }]).map(({ share }) => share),
    [0],
  );
});

test("a chart has a text", () => {
  const text = chartText(lane(), { calls: [NaN, 3, 9.7], refused: [NaN, 1, 0] }, 120);
  assert.equal(
    text,
    "Calls a second in transactional, the last 120 s: 9.7 now, 9.7 at most; the limit is 10.0. Calls were refused in 1 second.",
  );
  assert.match(chartText(lane(), { calls: [NaN], refused: [NaN] }, 120), /no data yet/);
});

test("a quota that is shared with other processes says how, and has a banner while Redis is away", () => {
  const shared = (mode) => ({ mode, mode_for: 12, processes: 3, process: "1234-0badcafe" });
  assert.equal(sharedText(null), "");
  assert.equal(sharedText(shared("shared")), "quota shared by 3 processes");
  assert.equal(sharedText({ ...shared("shared"), processes: 1 }), "shared quota");
  assert.equal(sharedText(shared("share")), "shared quota, Redis is away");
  assert.deepEqual(banners(account({}, { shared: null })), []);
  assert.deepEqual(banners(account({}, { shared: shared("shared") })), []);
  const only = (mode) => {
    const all = banners(account({}, { shared: shared(mode) }));
    assert.equal(all.length, 1);
    return all[0];
  };
  const share = only("share");
  assert.deepEqual([share.tone, share.title, share.cause], ["warn", "Redis is away", "share"]);
  assert.match(share.text, /^For 12 s the gateway has kept to its share of the quota, one of 3\./);
  assert.equal(only("stopped").tone, "bad");
  assert.match(only("stopped").text, /^For 12 s only exits have been sent\./);
  assert.equal(only("returning").title, "Redis is back");
  const alone = banners(account({}, { shared: { ...shared("share"), processes: 1 } }));
  assert.match(alone[0].text, /to its share of the quota\./);
});

test("while only exits are sent, a lane says so, and no lane is said to be at its limit", () => {
  const late = { queued: 3, oldest_wait: 8, estimated_wait: null };
  const stopped = { mode: "stopped", mode_for: 12, processes: 3 };
  const texts = banners(account(late, { shared: stopped })).map(({ text }) => text);
  assert.deepEqual(texts, ["For 12 s only exits have been sent. Every other call waits: 3 now."]);
  assert.equal(banners(account(late, { shared: { ...stopped, mode: "share" } })).length, 2);
  assert.equal(banners(account({ ...late, state: "paused" }, { shared: stopped })).length, 2);
  assert.deepEqual(laneState(lane(late), true), { word: "only exits", tone: "bad" });
  assert.equal(laneState(lane({ state: "paused" }), true).word, "paused by hand");
});
