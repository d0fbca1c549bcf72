// The table of clients, sortable by each column.

import { count, percent } from "./format.js";
import { withShares } from "./health.js";
import { attr, byId, el, keyed, show, text, variable } from "./dom.js";

/** The longest table. What is beyond is summed up in a line below it. */
const ROWS = 200;

/** Rows change their places at most this often, in milliseconds, so that a row can be read. */
const REORDER = 5_000;

/** The same while the pointer is over the table, or a text of it is selected. */
const REORDER_IN_USE = 30_000;

/** Orders clients by a column; equal ones by their names. */
export function sortClients(clients, column, isDescending) {
  const byName = (one, other) => one.name.localeCompare(other.name);
  const compare = (one, other) => {
    const [a, b] = [one[column], other[column]];
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a ?? "").localeCompare(String(b ?? ""));
  };
  const sign = isDescending ? -1 : 1;
  return [...clients].sort((one, other) => sign * compare(one, other) || byName(one, other));
}

function createRow({ name }) {
  const cells = {
    tier: el("td"),
    requests: el("td.num"),
    waiting: el("td.num"),
    refused: el("td.num"),
    from_cache: el("td.num"),
  };
  const [bar, share] = [el("span.share-bar", { "aria-hidden": "true" }), el("span.share-text")];
  const node = el(
    "tr",
    { "data-testid": "client", "data-client": name },
    el("th.client-name", { scope: "row", title: name }, name),
    ...Object.values(cells),
    el("td.num.share", {}, bar, share),
  );
  node.update = (client) => {
    text(cells.tier, client.tier ?? "none");
    attr(cells.tier, "data-empty", client.tier == null);
    for (const key of ["requests", "waiting", "refused", "from_cache"]) {
      text(cells[key], count(client[key]));
      attr(cells[key], "data-empty", !client[key]);
    }
    attr(cells.refused, "data-tone", client.refused > 0 ? "warn" : null);
    text(share, percent(client.share));
    variable(bar, "--part", client.share);
  };
  return node;
}

export class Clients {
  #column = "requests";
  #isDescending = true;
  #order = [];
  #orderedAt = -Infinity;
  #latest = [];

  constructor() {
    this.table = byId("client-table");
    for (const button of this.table.querySelectorAll("button[data-column]")) {
      button.addEventListener("click", () => this.#sortBy(button.dataset.column));
    }
    this.#showOrder();
  }

  #sortBy(column) {
    const isText = column === "name" || column === "tier";
    this.#isDescending = this.#column === column ? !this.#isDescending : !isText;
    this.#column = column;
    this.#orderedAt = -Infinity;
    this.#showOrder();
    this.#render();
  }

  #showOrder() {
    for (const button of this.table.querySelectorAll("button[data-column]")) {
      const isSorted = button.dataset.column === this.#column;
      const order = this.#isDescending ? "descending" : "ascending";
      attr(button.closest("th"), "aria-sort", isSorted ? order : null);
    }
  }

  update(clients) {
    this.#latest = withShares(clients ?? []);
    attr(this.table, "data-tiers", this.#latest.some(({ tier }) => tier != null));
    this.#render();
  }

  #render() {
    const clients = new Map(this.#latest.map((client) => [client.name, client]));
    const isInUse = this.table.matches(":hover") || this.table.contains(document.getSelection()?.anchorNode ?? null);
    const now = Date.now();
    const isDue = now - this.#orderedAt >= (isInUse ? REORDER_IN_USE : REORDER);
    if (
      isDue ||
      this.#orderedAt === -Infinity ||
      this.#order.length !== clients.size ||
      !this.#order.every((name) => clients.has(name))
    ) {
      this.#order = sortClients(this.#latest, this.#column, this.#isDescending).map(({ name }) => name);
      this.#orderedAt = now;
    }
    const rows = this.#order.slice(0, ROWS).map((name) => clients.get(name));
    keyed(byId("client-rows"), rows, ({ name }) => name, createRow);
    show(byId("no-clients"), rows.length === 0);
    show(this.table, rows.length > 0);
    const more = clients.size - rows.length;
    show(byId("more-clients"), more > 0);
    text(byId("more-clients"), `and ${count(more)} more, not shown`);
  }
}
