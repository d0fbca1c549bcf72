// What the page computes before it shows it: rings, texts, lists and the fragment of the address.

import assert from "node:assert/strict";
import { test } from "node:test";

import { adminKey, keyProblem, retryAfter } from "../../src/page/api.js";
import { areaPath, linePath, topOf } from "../../src/page/chart.js";
import { sortClients } from "../../src/page/clients.js";
import * as format from "../../src/page/format.js";
import { formatHash, parseHash, parseInstruments } from "../../src/page/hash.js";
import { listUsers, meanOver } from "../../src/page/lanes.js";
import { originText } from "../../src/page/prices.js";
import { RateRing, smooth, unshiftCapped } from "../../src/page/ring.js";
import { isAhead, resultText, scanText } from "../../src/page/scans.js";

test("a ring returns the last seconds in order, with gaps for seconds without a value", () => {
  const ring = new RateRing(6);
  ring.push(100, 1, 0);
  ring.push(101, 2, 0);
  ring.push(105, 4, 1);
  assert.deepEqual(ring.values(), { calls: [1, 2, NaN, NaN, NaN, 4], refused: [0, 0, NaN, NaN, NaN, 1] });
  ring.push(106, 5, 0);
  assert.deepEqual(ring.values().calls, [2, NaN, NaN, NaN, 4, 5]);
  // A second or two are no gap.
  ring.push(109, 7, 0);
  assert.deepEqual(ring.values().calls, [NaN, 4, 5, 7, 7, 7]);
});

test("a slow lane's rate is averaged over some calls, and gaps stay gaps", () => {
  assert.deepEqual([10, 5, 3, 1, 1 / 3, null].map(meanOver), [2, 2, 2, 5, 15, 2]);
  assert.deepEqual(smooth([4, 2], 1), [4, 2]);
  assert.deepEqual(smooth([NaN, 1, 0, 2, NaN, 3], 2), [NaN, 1, 0.5, 1, NaN, 3]);
});

test("a ring forgets what is older than it is long", () => {
  const ring = new RateRing(3);
  for (let second = 0; second < 1000; second += 1) ring.push(second, second, 0);
  assert.deepEqual(ring.values().calls, [997, 998, 999]);
  ring.push(5000, 1, 0);
  assert.deepEqual(ring.values().calls, [NaN, NaN, 1]);
});

test("a ring takes a clock that was set back for a new beginning, but not a value that is late", () => {
  const ring = new RateRing(3);
  ring.push(100, 1, 0);
  ring.push(99, 9, 0);
  assert.deepEqual(ring.values().calls, [NaN, NaN, 1]);
  ring.push(10, 2, 0);
  assert.deepEqual(ring.values().calls, [NaN, NaN, 2]);
  ring.push(NaN, 3, 0);
  assert.deepEqual(ring.values().calls, [NaN, NaN, 2]);
});

test("a capped list keeps the newest", () => {
  const list = [];
  for (let item = 0; item < 300; item += 1) unshiftCapped(list, item, 100);
  assert.equal(list.length, 100);
  assert.deepEqual([list[0], list[99]], [299, 200]);
});

test("numbers and times have one form each, and a dash if they are not known", () => {
  const { bytes, count, countdown, decimal, duration, percent, plural, roundTrip, ticking, words } = format;
  assert.deepEqual([count(1234567), count(null), count(NaN)], ["1,234,567", "–", "–"]);
  assert.deepEqual(
    [decimal(9.66), decimal(10), decimal(0.333), decimal(0), decimal(120.4)],
    ["9.7", "10", "0.33", "0", "120"],
  );
  assert.deepEqual([ticking(10, 10), ticking(0.25, 0.33), ticking(null, 1)], ["10.0", "0.25", "–"]);
  assert.deepEqual(["", null, "no such key", "Enter a key."].map(format.sentence), ["", "", "No such key.", "Enter a key."]);
  assert.deepEqual([0.0821, 0.9996, 1.44, null].map(roundTrip), ["82 ms", "1.0 s", "1.4 s", "–"]);
  assert.deepEqual(
    [percent(0), percent(0.001), percent(0.5), percent(0.999), percent(1)],
    ["0 %", "<1 %", "50 %", ">99 %", "100 %"],
  );
  assert.deepEqual(
    [plural(1, "call"), plural(2, "call"), plural(2, "miss", "misses")],
    ["1 call", "2 calls", "2 misses"],
  );
  assert.deepEqual([bytes(0), bytes(1048576), bytes(1536)], ["0 B", "1 MiB", "1.5 KiB"]);
  assert.deepEqual([countdown(3.2), countdown(-1)], ["4 s", "0 s"]);
  assert.deepEqual([words("half_open"), words("")], ["half open", "–"]);
  const durations = [
    [0.04, "0.0 s"],
    [1.44, "1.4 s"],
    [9.94, "9.9 s"],
    [9.96, "10 s"],
    [59.4, "59 s"],
    [59.6, "1 min 00 s"],
    [200, "3 min 20 s"],
    [3599.7, "1 h 00 min"],
    [7500, "2 h 05 min"],
    [100_000, "1 d 3 h"],
    [-1, "0.0 s"],
    [null, "–"],
    [Infinity, "–"],
  ];
  for (const [seconds, text] of durations) assert.equal(duration(seconds), text);
});

test("a text is cut to its limit", () => {
  assert.equal(format.clip("abcdef", 4), "abc…");
  assert.equal(format.clip("abc", 4), "abc");
  assert.equal(format.clip(null, 4), "");
});

test("instruments are separated by commas, lines, or spaces before an exchange", () => {
  const expected = ["NSE:INFY", "NSE:NIFTY 50", "NSE:M&M"];
  assert.deepEqual(parseInstruments("nse:infy, NSE:NIFTY 50\nNSE:M&M,,NSE:INFY"), expected);
  assert.deepEqual(parseInstruments("NSE:INFY NSE:NIFTY 50 NSE:M&M"), expected);
  assert.equal(parseInstruments(Array.from({ length: 80 }, (_, number) => `NSE:A${number}`).join(",")).length, 50);
});

test("the fragment of the address keeps what it is given", () => {
  const memory = { account: "a & b", instruments: ["NSE:M&M", "NSE:NIFTY 50"], isFollowing: true };
  assert.deepEqual(parseHash(formatHash(memory)), memory);
  assert.equal(formatHash({ account: null, instruments: [], isFollowing: false }), "");
  assert.deepEqual(parseHash("#%zz&i=&follow=2"), { account: null, instruments: [], isFollowing: false });
});

test("a price is called fresh for a moment, and then has an age", () => {
  const fetched = new Date(2026, 10, 30, 10, 15, 32).toISOString();
  const fresh = { origin: "fresh", age: 0, fetched_at: fetched };
  assert.equal(originText(fresh, 2), "fresh, 10:15:32");
  assert.equal(originText(fresh, 42), "fetched 10:15:32, 42 s ago");
  assert.equal(originText({ origin: "cache", age: 0.8, fetched_at: fetched }, 0), "from cache, 0.8 s old");
  assert.equal(originText({ origin: "cache", age: 0.8, fetched_at: fetched }, 60), "from cache, 1 min 01 s old");
});

test("the list of users is steady, bounded, and has the rest in one row", () => {
  const seen = new Map();
  assert.deepEqual(
    listUsers({ a: 1, b: 2, c: 3 }, seen, 0).map(({ user }) => user),
    ["c", "b", "a"],
  );
  assert.deepEqual(listUsers({ a: 9 }, seen, 1000), [
    { user: "c", queued: 0 },
    { user: "b", queued: 0 },
    { user: "a", queued: 9 },
  ]);
  assert.deepEqual(listUsers({ a: 9 }, seen, 60_000), [{ user: "a", queued: 9 }]);
  const crowd = Object.fromEntries(Array.from({ length: 1000 }, (_, number) => [`u${number}`, 1]));
  const rows = listUsers({ ...crowd, a: 9 }, seen, 60_000);
  assert.deepEqual([rows.length, rows[0].user, rows.at(-1).others, rows.at(-1).queued], [5, "a", 997, 997]);
  assert.equal(seen.size, 4);
});

test("a user with many calls takes the place of one with few", () => {
  const seen = new Map();
  listUsers({ a: 2, b: 2, c: 2, d: 1 }, seen, 0);
  assert.deepEqual(
    listUsers({ a: 2, b: 2, c: 2, d: 1, e: 2 }, seen, 1000).map(({ user }) => user),
    ["a", "b", "c", "d", null],
  );
  assert.deepEqual(
    listUsers({ a: 2, b: 2, c: 2, d: 1, e: 40 }, seen, 1000).map(({ user }) => user),
    ["a", "b", "c", "e", null],
  );
});

test("names of users that objects have by nature are names like others", () => {
  assert.deepEqual(listUsers({ constructor: 2 }, new Map([["toString", 0]]), 1), [
    { user: "toString", queued: 0 },
    { user: "constructor", queued: 2 },
  ]);
});

test("clients are sorted by a column, and then by name", () => {
  const clients = [
    { name: "b", requests: 2, tier: null },
    { name: "a", requests: 2, tier: "x" },
    { name: "c", requests: 10, tier: "a" },
  ];
  const sorted = (column, isDescending) =>
    sortClients(clients, column, isDescending)
      .map(({ name }) => name)
      .join("");
  assert.deepEqual(
    [sorted("requests", true), sorted("requests", false), sorted("name", true), sorted("tier", false)],
    ["cab", "abc", "cba", "bca"],
  );
});

test("a line has no part where a value is not known", () => {
  assert.equal(linePath([NaN, 0, 10, NaN, 5], 10), "M1 100L2 0M4 50h0.4");
  assert.equal(areaPath([NaN, 0, 10, NaN], 10), "M1 100L2 0L2 100L1 100Z");
  assert.equal(linePath([NaN, NaN], 10), "");
});

test("a chart is higher than its limit and its values", () => {
  assert.ok(topOf([NaN, 3], 10) > 10);
  assert.ok(topOf([NaN, 30], 10) > 30);
  assert.ok(topOf([], null) > 0);
});

test("a scan says how far it is", () => {
  const scan = { state: "running", done: 3, failed: 1, total: 30, position: 2, estimated_wait: 12.5 };
  assert.equal(scanText(scan), "3 of 30, 1 failed, 2 calls ahead, about 13 s to go");
  assert.equal(scanText({ ...scan, state: "done", done: 30, failed: 0 }), "30 of 30");
});

test("a scan that has ended does not begin again", () => {
  const running = { state: "running", done: 5, failed: 0 };
  assert.ok(isAhead({ ...running, state: "done" }, running));
  assert.ok(!isAhead(running, { ...running, state: "cancelled" }));
  assert.ok(!isAhead(running, { ...running, state: "paused" }));
  assert.ok(isAhead({ ...running, done: 6 }, running));
});

test("a result shows the last price, or its body, or why it failed", () => {
  const body = { status: "success", data: { "NSE:INFY": { instrument_token: 1, last_price: 1501.05 } } };
  assert.equal(resultText({ ok: true, body }), "1501.05");
  assert.equal(resultText({ ok: true, body: "plain" }), "plain");
  assert.equal(resultText({ ok: true, body: { a: [1, 2, 3] } }), '{"a":[1,2,3]}');
  assert.equal(resultText({ ok: true, body: null }), "null");
  assert.equal(resultText({ ok: false, error: "no such instrument" }), "no such instrument");
  assert.equal(resultText({ ok: false, error: null, status: 500 }), "status 500");
  assert.ok(resultText({ ok: true, body: "x".repeat(100_000) }).length <= 200);
});

test("keys are checked before they are sent", () => {
  assert.equal(keyProblem("alpha:secret", true), null);
  assert.equal(keyProblem(" admin:secret ", true), null);
  assert.equal(keyProblem("secret", false), null);
  for (const entered of ["", "   ", "secret", "alpha:", ":secret", "alpha:se cret", "alpha:sécret", "alpha:a\nb"]) {
    assert.notEqual(keyProblem(entered, true), null, JSON.stringify(entered));
  }
  assert.deepEqual([adminKey("sesame"), adminKey(" admin:sesame ")], ["admin:sesame", "admin:sesame"]);
});

test("the time to wait is that of the body, or that of the header", () => {
  assert.equal(retryAfter({ retry_after: 3.2 }, "4"), 3.2);
  assert.equal(retryAfter(null, "4"), 4);
  assert.equal(retryAfter({}, null), null);
});
