// The page of the gateway: reads the stream of events and hands each status to the parts of the page.
//
// A part keeps what it shows in the document and writes only what has changed. What grows with time is bounded: rings
// of rates, the last notices, the last results.

import { Api } from "./api.js";
import { Clients } from "./clients.js";
import { AdminDialog, KeyDialog } from "./dialogs.js";
import { byId, keyed, show, text } from "./dom.js";
import { plural } from "./format.js";
import { formatHash, parseHash } from "./hash.js";
import { Rates, createLaneCard } from "./lanes.js";
import { Notices } from "./notices.js";
import { updateBudgets, updateCaches, updateOrders } from "./panels.js";
import { Prices } from "./prices.js";
import { Scans } from "./scans.js";
import { EventStream } from "./stream.js";
import { Announcer, Connection, Top } from "./top.js";

/** How long the page may be hidden before it closes its streams, in milliseconds. */
const HIDDEN = 60_000;

const api = new Api();
const memory = parseHash(location.hash);
const remember = () => history.replaceState(null, "", formatHash(memory) || location.pathname + location.search);
const { say } = new Announcer();
const rates = new Rates();
const connection = new Connection();
const clients = new Clients();
const notices = new Notices(say);
const prices = new Prices(api, memory, remember);
const scans = new Scans(api, say);
const top = new Top(say, choose, login);
const admin = new AdminDialog(api, showKeys);
const keyDialog = new KeyDialog(api, () => {
  showKeys();
  stream.start();
});

let status = null;

const stream = new EventStream({
  url: api.url("events"),
  headers: () => api.headers(),
  onEvent: ({ type, data, id }) => {
    connection.heard();
    if (type !== "status" && type !== "notice") return;
    let value;
    try {
      value = JSON.parse(data);
    } catch {
      return;
    }
    if (type === "notice") {
      notices.add(value, id);
    } else {
      status = value;
      rates.record(status);
      notices.openedAt(status.at);
    }
    schedule();
  },
  onState: (state) => {
    connection.set(state);
    show(byId("key-open"), state.name === "denied");
    text(
      byId("loading"),
      state.name === "denied" ? "The gateway wants a key." : "Waiting for the first status of the gateway.",
    );
    if (state.name === "denied") keyDialog.open(api.hasKey ? "The gateway does not take this key any more." : "");
  },
});

/** Draws in the next frame. While the page is hidden there is none, and nothing is drawn. */
function schedule() {
  schedule.frame ??= requestAnimationFrame(() => {
    schedule.frame = undefined;
    draw();
  });
}

function draw() {
  each(notices.render.bind(notices));
  if (!status?.accounts?.length) return;
  const account = chosenAccount();
  const lanes = (account.lanes ?? []).map((lane) => ({
    account: account.name,
    lane,
    onlyExits: account.shared?.mode === "stopped",
    ring: rates.of(account.name, lane.lane),
  }));
  show(byId("loading"), false);
  show(byId("content"), true);
  each(
    () => top.update(status, account),
    () =>
      keyed(
        byId("lane-list"),
        lanes,
        ({ lane }) => `${account.name} ${lane.lane}`,
        (item) => createLaneCard(item, toggleLane),
      ),
    () => updateBudgets(account),
    () => updateOrders(account),
    () => updateCaches(account),
    () => clients.update(status.clients),
    () => prices.update(account, status.cool_down),
    () => scans.update(account, status.scans),
  );
}

/** Runs the parts one by one: a part that fails must not take the others with it. */
function each(...parts) {
  for (const part of parts) {
    try {
      part();
    } catch (error) {
      console.error(error);
    }
  }
}

/** The account that the page shows: the one that the address names, or the first. */
function chosenAccount() {
  return status.accounts.find(({ name }) => name === memory.account) ?? status.accounts[0];
}

function choose(name) {
  memory.account = name;
  remember();
  draw();
}

function showKeys() {
  show(byId("key-forget"), api.hasKey);
}

const lanePath = (account, lane, verb) =>
  `accounts/${encodeURIComponent(account)}/lanes/${encodeURIComponent(lane)}/${verb}`;

function toggleLane(account, { lane, state, queued, in_flight: flying }) {
  const verb = state === "paused" ? "resume" : "pause";
  const run = () => api.post(lanePath(account, lane, verb), {}, { asAdmin: true });
  if (verb === "resume") {
    const what = `${plural(queued, "call")} in the queue. Calls of ${lane} are sent again, within the quota.`;
    return admin.ask({ title: `Resume ${lane}?`, text: what, verb: "Resume lane", mustConfirm: false, run });
  }
  const what =
    `Every call in ${lane} waits until the lane is resumed: exits and cancellations too. ` +
    `Calls in flight (${flying}) go on. A call whose deadline passes while it waits fails as not sent.`;
  return admin.ask({ title: `Pause ${lane}?`, text: what, verb: "Pause lane", mustConfirm: true, run });
}

function login() {
  const { name: account } = chosenAccount();
  admin.ask({
    title: `Log in ${account}`,
    verb: "Log in",
    mustConfirm: true,
    extra: "Request token",
    text: "Open the broker's login page, and enter the request token that it hands to your redirect address.",
    run: (token) => api.post("login", { account, request_token: token }, { asAdmin: true }),
  });
}

let hideTimer;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hideTimer);
  if (document.hidden) {
    hideTimer = setTimeout(() => {
      stream.stop();
      scans.suspend();
    }, HIDDEN);
  } else {
    stream.start();
    scans.resume();
  }
});

// A page that the browser keeps for "back" must not keep its connection.
addEventListener("pagehide", () => stream.stop());
addEventListener("pageshow", () => stream.start());

addEventListener("hashchange", () => {
  Object.assign(memory, parseHash(location.hash));
  prices.showMemory();
  draw();
});

byId("key-open").addEventListener("click", () => keyDialog.open());
byId("key-forget").addEventListener("click", () => {
  api.forget();
  showKeys();
  byId("content").focus();
  stream.stop();
  stream.start();
});

setInterval(() => {
  if (document.hidden) return;
  connection.tick();
  prices.tick();
}, 500);

stream.start();
