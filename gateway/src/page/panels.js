// The panels that only show: budgets, orders and caches.

import { bytes, count, percent, plural } from "./format.js";
import { hitRate } from "./health.js";
import { attr, byId, el, keyed, show, text, variable } from "./dom.js";
import { createMeter } from "./meter.js";

export function updateBudgets(account) {
  const budgets = account.budgets ?? [];
  show(byId("budgets"), budgets.length > 0);
  keyed(
    byId("budget-list"),
    budgets,
    ({ budget }) => `${account.name} ${budget}`,
    ({ budget: name }) => {
      const meters = el("div.meters");
      const unlimited = el("p.quiet", {}, "No limit.");
      const node = el(
        "section.budget",
        { "data-testid": "budget", "data-budget": name },
        el("h3", {}, name),
        meters,
        unlimited,
      );
      node.update = ({ windows }) => {
        show(unlimited, (windows ?? []).length === 0);
        keyed(
          meters,
          windows ?? [],
          (each) => `${each.window} ${each.is_cut}`,
          () => createMeter(name, true),
        );
      };
      return node;
    },
  );
}

/** What became of placements: the name in the status, the label, and what it means. */
const OUTCOMES = [
  ["placed", "Placed", "in the market, by the broker's answer or by the order book"],
  ["rejected", "Rejected", "the broker refused them"],
  ["absent", "Absent", "the answer was lost, the order book does not have them"],
  ["unknown", "Unknown", "the answer was lost, the order book could not tell"],
  ["found_late", "Found late", "absent or unknown at first, and in the market later"],
  ["pending", "Pending", "absent or unknown, still looked for"],
];

export function updateOrders({ name, orders }) {
  show(byId("orders"), Boolean(orders));
  const unknown = orders?.unknown ?? 0;
  show(byId("unknown-orders"), unknown > 0);
  if (unknown > 0) {
    text(byId("unknown-count"), `${plural(unknown, "order")} of unknown outcome`);
  }
  const outcomes = OUTCOMES.map(([key, label, meaning]) => ({ key, label, meaning, number: orders?.[key] }));
  keyed(
    byId("order-list"),
    orders ? outcomes : [],
    ({ key }) => `${name} ${key}`,
    ({ key, label, meaning }) => {
      const value = el("dd");
      const node = el("div.fact", { "data-testid": `orders-${key}`, title: meaning }, el("dt", {}, label), value);
      node.update = ({ number }) => {
        text(value, count(number));
        attr(value, "data-tone", key === "unknown" && number > 0 ? "bad" : null);
      };
      return node;
    },
  );
}

/** The caches of the status: its name there, its label, and what each counts. */
const CACHES = [
  {
    key: "quotes",
    label: "Quotes",
    tells: ({ entries, requests }) => `${plural(entries, "instrument")}, ${plural(requests, "request")} to the broker`,
  },
  {
    key: "kept",
    label: "Kept answers",
    tells: ({ entries, bytes: size }) => `${plural(entries, "answer")}, ${bytes(size)}`,
  },
];

export function updateCaches(account) {
  const caches = CACHES.filter(({ key }) => account[key]).map((cache) => ({ ...cache, stats: account[cache.key] }));
  show(byId("caches"), caches.length > 0);
  keyed(
    byId("cache-list"),
    caches,
    ({ key }) => `${account.name} ${key}`,
    ({ key, label }) => {
      const [share, counts, detail] = [el("span.cache-share"), el("p.quiet"), el("p.quiet")];
      const bar = el(
        "div.meter-bar",
        {
          role: "meter",
          "aria-valuemin": "0",
          "aria-valuemax": "100",
          "aria-label": `${label}, answered from the cache`,
        },
        el("div.meter-fill"),
      );
      const node = el(
        "section.cache",
        { "data-testid": `cache-${key}` },
        el("div.cache-head", {}, el("h3", {}, label), share),
        bar,
        counts,
        detail,
      );
      node.update = ({ stats, tells }) => {
        const part = hitRate(stats);
        text(share, part === null ? "not asked yet" : `${percent(part)} from cache`);
        variable(bar, "--used", part ?? 0);
        attr(bar, "aria-valuenow", Math.round((part ?? 0) * 100));
        const misses = plural(stats.misses, "miss", "misses");
        text(counts, `${plural(stats.hits, "hit")}, ${count(stats.joined)} shared a request, ${misses}`);
        text(detail, tells(stats));
      };
      return node;
    },
  );
}
