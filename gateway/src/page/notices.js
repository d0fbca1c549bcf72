// The list of events: throttles, breakers, pauses, sessions, orders of unknown outcome. The newest is on top.

import { clip, plural, timeOfDay, words } from "./format.js";
import { attr, byId, el, keyed, show, text } from "./dom.js";
import { unshiftCapped } from "./ring.js";

const LIMIT = 100;

const SEVERITIES = ["info", "warning", "error"];

function createNotice({ notice }) {
  const severity = SEVERITIES.includes(notice.severity) ? notice.severity : "info";
  const where = [notice.account, notice.lane].filter(Boolean).join(" / ");
  const fresh = el("span.notice-new", {}, "new");
  const node = el(
    "li.notice",
    { "data-testid": "notice", "data-severity": severity },
    el(
      "div.notice-head",
      {},
      el("time", { datetime: notice.at ?? null, title: notice.at ?? null }, timeOfDay(notice.at)),
      el("span.notice-kind", {}, words(notice.kind)),
      el("span.notice-severity", {}, severity),
      fresh,
    ),
    el("p.notice-text", {}, clip(notice.text, 500)),
    el("p.notice-where", {}, where),
  );
  node.update = ({ isNew }) => {
    attr(node, "data-new", isNew);
    show(fresh, isNew);
  };
  return node;
}

export class Notices {
  #list = [];
  #since = null;

  /** @param {(text: string) => void} announce tells a screen reader */
  constructor(announce) {
    this.announce = announce;
    byId("notices-seen").addEventListener("click", () => {
      this.#list = this.#list.map((entry) => ({ ...entry, isNew: false }));
      byId("notice-region").focus();
      this.render();
    });
  }

  /** Remembers when the page was opened, by the gateway's clock. What happened before is not new. */
  openedAt(moment) {
    this.#since ??= Date.parse(moment);
  }

  add(notice, id) {
    // A gateway that was restarted counts its events anew, so the id alone does not name one.
    const key = `${id} ${notice.at} ${notice.kind}`;
    if (this.#list.some((entry) => entry.key === key)) return;
    const isNew = this.#since !== null && Date.parse(notice.at) > this.#since;
    unshiftCapped(this.#list, { key, notice, isNew }, LIMIT);
    if (isNew && notice.severity !== "info") this.announce(`${words(notice.kind)}: ${clip(notice.text, 200)}`);
  }

  render() {
    keyed(byId("notice-list"), this.#list, ({ key }) => key, createNotice);
    const fresh = this.#list.filter(({ isNew }) => isNew).length;
    show(byId("no-notices"), this.#list.length === 0);
    show(byId("notice-region"), this.#list.length > 0);
    show(byId("notices-seen"), fresh > 0);
    text(byId("notices-new"), fresh > 0 ? plural(fresh, "new one") : "");
  }
}
