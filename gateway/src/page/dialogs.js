// The two dialogs: one asks for a key to look at the page, one confirms an action of the admin.

import { ApiError, keyProblem } from "./api.js";
import { byId, show, text } from "./dom.js";
import { sentence } from "./format.js";

/** Shows why a dialog cannot go on, and moves the focus to the field that is to be mended. */
function complain(message, problem, field) {
  text(message, sentence(problem));
  show(message, problem !== "");
  field.setAttribute("aria-invalid", problem !== "");
  if (problem) {
    field.focus();
    field.select();
  }
}

/** Runs `attempt` for a form, one at a time, and closes its dialog if it succeeds. */
function onSubmit(dialog, form, attempt) {
  let isBusy = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (isBusy) return;
    isBusy = true;
    dialog.setAttribute("aria-busy", "true");
    const isDone = await attempt().finally(() => {
      isBusy = false;
      dialog.removeAttribute("aria-busy");
    });
    if (isDone && dialog.open) dialog.close("done");
  });
}

/** The dialog that asks for a client's key. */
export class KeyDialog {
  /**
   * @param {import("./api.js").Api} api
   * @param {() => void} onKey called when the gateway has taken a key
   */
  constructor(api, onKey) {
    this.dialog = byId("key-dialog");
    const [field, message] = [byId("key-field"), byId("key-message")];
    this.open = (problem = "") => {
      if (this.dialog.open) return;
      field.value = "";
      this.dialog.showModal();
      complain(message, problem, field);
    };
    byId("key-cancel").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => {
      // The event comes later than the end, and the dialog may be open again by then.
      if (this.dialog.open) return;
      field.value = "";
      // The dialog opens by itself, so there may be nothing that the focus can return to.
      if (!api.hasKey) byId("key-open").focus();
    });
    onSubmit(this.dialog, byId("key-form"), async () => {
      const problem = keyProblem(field.value, true);
      if (problem) return complain(message, problem, field);
      api.useKey(field.value);
      try {
        await api.get("status");
      } catch (error) {
        if (error instanceof ApiError && error.isDenied) api.forget();
        return complain(message, error.message, field);
      }
      onKey();
      return true;
    });
  }
}

/** The dialog for what only the admin may do. It asks for the admin key if it is not known yet. */
export class AdminDialog {
  #job = null;

  /** @param {import("./api.js").Api} api */
  constructor(api, onChange) {
    this.api = api;
    this.onChange = onChange;
    this.dialog = byId("admin-dialog");
    this.key = byId("admin-key");
    this.extra = byId("admin-extra");
    this.message = byId("admin-message");
    byId("admin-cancel").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => {
      // The event comes later than the end, and the dialog may be open again by then.
      if (this.dialog.open) return;
      this.#empty();
      this.#job = null;
    });
    onSubmit(this.dialog, byId("admin-form"), () => this.#submit());
  }

  /**
   * Does something as the admin. If the key is known, and there is nothing to confirm, no dialog opens.
   * @param {{
   *   title: string, text: string, verb: string, mustConfirm: boolean, extra?: string,
   *   run: (extra: string) => Promise<unknown>,
   * }} job `extra` is the label of one more field
   */
  async ask(job) {
    if (!job.mustConfirm && this.api.hasAdmin) {
      const problem = await this.#run(job, "");
      if (problem === null) return;
      this.#open(job, problem);
    } else {
      this.#open(job, "");
    }
  }

  #open(job, problem) {
    if (this.dialog.open) return;
    this.#job = job;
    this.#empty();
    text(byId("admin-title"), job.title);
    text(byId("admin-text"), job.text);
    text(byId("admin-submit"), job.verb);
    text(byId("admin-extra-label"), job.extra ?? "");
    show(byId("admin-extra-row"), Boolean(job.extra));
    this.#showKey();
    this.dialog.showModal();
    complain(this.message, problem, this.#firstField());
    if (!problem) this.#firstField().focus();
  }

  #empty() {
    this.key.value = "";
    this.extra.value = "";
  }

  #showKey() {
    show(byId("admin-key-row"), !this.api.hasAdmin);
  }

  #firstField() {
    if (!byId("admin-key-row").hidden) return this.key;
    return byId("admin-extra-row").hidden ? byId("admin-submit") : this.extra;
  }

  async #submit() {
    const job = this.#job;
    if (job.extra && this.extra.value.trim() === "") {
      return complain(this.message, "Fill in both fields.", this.extra);
    }
    if (!this.api.hasAdmin) {
      const problem = keyProblem(this.key.value, false);
      if (problem) return complain(this.message, problem, this.key);
      this.api.useAdmin(this.key.value);
    }
    const problem = await this.#run(job, this.extra.value.trim());
    if (problem === null) return true;
    this.#showKey();
    return complain(this.message, problem, this.#firstField());
  }

  /** Returns null, or why it failed. A key that the gateway does not take is forgotten. */
  async #run(job, extra) {
    try {
      await job.run(extra);
      return null;
    } catch (error) {
      if (error instanceof ApiError && error.isDenied) this.api.forgetAdmin();
      return error.message;
    } finally {
      this.onChange();
    }
  }
}
