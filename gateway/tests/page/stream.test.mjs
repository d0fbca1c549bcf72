// The stream that reconnects, against a `fetch` that the tests play.

import assert from "node:assert/strict";
import { test } from "node:test";

import { EventStream, reconnectWait } from "../../src/page/stream.js";

/** Plays a gateway: answers each request with the next of `answers`, and records the requests. */
function play(answers, options = {}) {
  const [events, states, requests] = [[], [], []];
  let wake = () => {};
  const stream = new EventStream({
    url: "http://gateway/events",
    headers: () => ({ Authorization: "Bearer alpha:secret" }),
    onEvent: (event) => {
      events.push(event);
      wake();
    },
    onState: (state) => {
      states.push(state);
      wake();
    },
    random: () => 0.5,
    fetch: async (url, init) => {
      requests.push(init);
      const answer = answers[Math.min(requests.length, answers.length) - 1];
      return answer(init);
    },
    ...options,
  });
  const until = async (holds) => {
    while (!holds())
      await new Promise((resolve) => {
        wake = resolve;
      });
  };
  return { stream, events, states, requests, until };
}

/** An answer with these events. It stays open unless `ends`. */
const streamOf =
  (text, ends = false) =>
  (init) => {
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(text));
        if (ends) controller.close();
        else init.signal.addEventListener("abort", () => controller.error(new Error("aborted")));
      },
    });
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  };

const status = (code) => () => new Response("{}", { status: code });

test("the wait doubles from what the server asked for, up to half a minute", () => {
  const waits = [1, 2, 3, 4, 5, 6, 100].map((failures) => reconnectWait(2000, failures, 0.5));
  assert.deepEqual(waits, [2000, 4000, 8000, 16000, 30000, 30000, 30000]);
});

test("the wait is spread by a quarter, and never zero", () => {
  assert.equal(reconnectWait(2000, 1, 0), 1500);
  assert.equal(reconnectWait(2000, 1, 1), 2500);
  assert.ok(reconnectWait(0, 1, 0) > 0);
});

test("a stream that ends is resumed after its last event, with the key", async () => {
  const gateway = play([streamOf("retry: 1\nid: 5\ndata: a\n\n", true), streamOf("id: 6\ndata: b\n\n")]);
  gateway.stream.start();
  await gateway.until(() => gateway.events.length === 2);
  gateway.stream.stop();
  assert.deepEqual(
    gateway.events.map(({ data, id }) => [data, id]),
    [
      ["a", "5"],
      ["b", "6"],
    ],
  );
  assert.equal(gateway.requests[0].headers["Last-Event-ID"], undefined);
  assert.equal(gateway.requests[1].headers["Last-Event-ID"], "5");
  assert.equal(gateway.requests[1].headers.Authorization, "Bearer alpha:secret");
});

test("a gateway that cannot be reached is tried again", async () => {
  const down = () => {
    throw new TypeError("failed to fetch");
  };
  const gateway = play([streamOf("retry: 1\n\n", true), down, status(503), streamOf("data: a\n\n")]);
  gateway.stream.start();
  await gateway.until(() => gateway.events.length === 1);
  gateway.stream.stop();
  const reasons = gateway.states.filter(({ name }) => name === "waiting").map(({ reason }) => reason);
  assert.deepEqual(reasons, [
    "the gateway ended the stream",
    "the gateway cannot be reached",
    "the gateway answers 503",
  ]);
});

test("a refused key ends the attempts until the stream is started again", async () => {
  const gateway = play([status(401), streamOf("data: a\n\n")]);
  gateway.stream.start();
  await gateway.until(() => gateway.states.at(-1).name === "denied");
  assert.equal(gateway.requests.length, 1);
  gateway.stream.start();
  await gateway.until(() => gateway.events.length === 1);
  gateway.stream.stop();
});

test("a stream that is gone is not asked for again", async () => {
  const gateway = play([status(404)]);
  gateway.stream.start();
  await gateway.until(() => gateway.states.at(-1).name === "gone");
  assert.equal(gateway.requests.length, 1);
});

test("a page in place of a stream is an error", async () => {
  const gateway = play([() => new Response("<html>", { headers: { "Content-Type": "text/html" } })]);
  gateway.stream.start();
  await gateway.until(() => gateway.states.at(-1).name === "waiting");
  gateway.stream.stop();
  assert.match(gateway.states.find(({ name }) => name === "waiting").reason, /not a stream/);
});

test("a silent connection is given up", async () => {
  const gateway = play([streamOf("retry: 1\nid: 1\ndata: a\n\n"), streamOf("data: b\n\n")], { silence: 20 });
  gateway.stream.start();
  await gateway.until(() => gateway.events.length === 2);
  gateway.stream.stop();
  assert.ok(gateway.states.some(({ reason }) => reason === "the gateway is silent"));
  assert.ok(gateway.requests[0].signal.aborted);
});

test("a stopped stream closes its connection and tells no more events", async () => {
  const gateway = play([streamOf("data: a\n\n")]);
  gateway.stream.start();
  await gateway.until(() => gateway.events.length === 1);
  gateway.stream.stop();
  assert.ok(gateway.requests[0].signal.aborted);
  assert.equal(gateway.states.at(-1).name, "stopped");
  await new Promise(setImmediate);
  assert.equal(gateway.requests.length, 1);
});

test("a stream that is open is not opened twice", async () => {
  const gateway = play([streamOf("data: a\n\n")]);
  gateway.stream.start();
  gateway.stream.start();
  await gateway.until(() => gateway.events.length === 1);
  gateway.stream.start();
  gateway.stream.stop();
  assert.equal(gateway.requests.length, 1);
});
