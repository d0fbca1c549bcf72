// Makes single calls with the official JavaScript client, unmodified. The messages are those of
// `tests/python/gateway_calls.py`, without keyword arguments.
//
// The package is found in `NODE_PATH`, or in `node_modules` beside this file.
"use strict";

const readline = require("node:readline");
const { KiteConnect } = require("kiteconnect");

async function outcome(call) {
  const { api_key, access_token, root, method, args } = call;
  const kite = new KiteConnect({ api_key, access_token, root });
  try {
    return { answer: await kite[method](...args) };
  } catch (error) {
    // The client rejects with the body of the answer, whose type is the name of the exception.
    return { raised: error.error_type ?? error.name, message: String(error.message) };
  }
}

async function main() {
  console.log("ready");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await outcome(JSON.parse(line))));
  }
}

main();
