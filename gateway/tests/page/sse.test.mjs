// The decoder of server-sent events. Run with `node --test gateway/tests/page/*.test.mjs` (Node 20.19 or later, no packages).

import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_EVENT, SseParser } from "../../src/page/sse.js";

function parse(...pieces) {
  const [events, retries] = [[], []];
  const parser = new SseParser(
    (event) => events.push(event),
    (milliseconds) => retries.push(milliseconds),
  );
  for (const piece of pieces) parser.push(piece);
  return { events, retries, parser };
}

test("an event has its type, its data and its id", () => {
  const { events } = parse('id: 7\nevent: status\ndata: {"a":1}\n\n');
  assert.deepEqual(events, [{ type: "status", data: '{"a":1}', id: "7" }]);
});

test("an event may be cut anywhere, and each end of line counts once", () => {
  for (const end of ["\n", "\r\n", "\r"]) {
    const text = ["id: 1", "event: a", "data: x", "data: y", "", "data: z", "", ""].join(end);
    const expected = [
      { type: "a", data: "x\ny", id: "1" },
      { type: "message", data: "z", id: "1" },
    ];
    for (let cut = 0; cut <= text.length; cut += 1) {
      assert.deepEqual(
        parse(text.slice(0, cut), text.slice(cut)).events,
        expected,
        `cut at ${cut} of ${JSON.stringify(text)}`,
      );
    }
    assert.deepEqual(parse(...text).events, expected);
  }
});

test("an event is told only when it is complete", () => {
  const { events, parser } = parse("data: x\n");
  assert.equal(events.length, 0);
  parser.push("\n");
  assert.equal(events.length, 1);
});

test("an id holds for later events, and counts without data", () => {
  const { events, parser } = parse("id: 4\n\ndata: x\n\n");
  assert.deepEqual(events, [{ type: "message", data: "x", id: "4" }]);
  assert.equal(parser.lastId, "4");
});

test("an id with a NUL is ignored", () => {
  assert.equal(parse("id: 4\nid: 5\0\ndata: x\n\n").events[0].id, "4");
});

test("comments and unknown fields are ignored", () => {
  assert.deepEqual(parse(": hello\nfoo: bar\nbaz\ndata\n\n").events, [{ type: "message", data: "", id: "" }]);
});

test("only one space after the colon is dropped", () => {
  assert.equal(parse("data:  x\n\n").events[0].data, " x");
  assert.equal(parse("data:x\n\n").events[0].data, "x");
});

test("retry must be a whole number", () => {
  assert.deepEqual(parse("retry: 2000\nretry: soon\nretry: -1\nretry: 1.5\n").retries, [2000]);
});

test("a byte order mark is dropped at the start alone", () => {
  assert.equal(parse("\uFEFFdata: x\n\n").events[0].data, "x");
  assert.equal(parse("data: \uFEFFx\n\n").events[0].data, "\uFEFFx");
});

test("an event without an end does not fill the memory", () => {
  const { parser } = parse("data: ");
  const piece = "x".repeat(1024 * 1024);
  assert.throws(() => {
    for (let size = 0; size <= MAX_EVENT; size += piece.length) parser.push(piece);
  }, RangeError);
});

test("many lines of one event do not fill the memory", () => {
  const { parser } = parse();
  const line = `data: ${"x".repeat(1024 * 1024)}\n`;
  assert.throws(() => {
    for (let size = 0; size <= 2 * MAX_EVENT; size += line.length) parser.push(line);
  }, RangeError);
});
