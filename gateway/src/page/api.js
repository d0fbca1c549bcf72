// Requests to the gateway, and the keys that they need. Keys are in memory only: they are gone when the page is.

/** An answer that is not a success. `retryAfter` is in seconds, or null. */
export class ApiError extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the gateway wants a key, or another one. */
  get isDenied() {
    return this.status === 401 || this.status === 403;
  }
}

/** Turns what a person enters into the value of a Bearer key: the admin key may come without its name. */
export function adminKey(entered) {
  const key = entered.trim();
  return key.startsWith("admin:") ? key : `admin:${key}`;
}

/** Why a text cannot be a key, or null. A header can carry visible ASCII only. */
export function keyProblem(entered, needsName) {
  const key = entered.trim();
  if (key === "") return "Enter a key.";
  if (!/^[\x21-\x7e]+$/.test(key)) return "A key has no spaces and no letters beyond ASCII.";
  if (needsName && !/^[^:]+:./.test(key)) return "A key has the form NAME:SECRET.";
  return null;
}

/** How long to wait after a refusal, in seconds, from the body or the header `Retry-After`; null if neither says it. */
export function retryAfter(body, header) {
  if (typeof body?.retry_after === "number") return body.retry_after;
  const seconds = Number.parseFloat(header ?? "");
  return Number.isFinite(seconds) ? seconds : null;
}

export class Api {
  /** The key of a client, or of the admin, that reads. */
  #reader = null;
  /** The admin key, once it was entered. */
  #admin = null;

  get hasAdmin() {
    return this.#admin !== null;
  }

  get hasKey() {
    return this.#admin !== null || this.#reader !== null;
  }

  /** Whether the present key may use what belongs to this client. Without keys there is nothing to tell clients apart. */
  mayUse(client) {
    return this.#reader === null || [client, "admin"].includes(this.#reader.split(":", 1)[0]);
  }

  /** Takes the key that reads: `NAME:SECRET`. */
  useKey(entered) {
    const key = entered.trim();
    this.#reader = key;
    if (key.startsWith("admin:")) this.#admin = key;
  }

  useAdmin(entered) {
    this.#admin = adminKey(entered);
  }

  forgetAdmin() {
    if (this.#reader === this.#admin) this.#reader = null;
    this.#admin = null;
  }

  forget() {
    this.#admin = null;
    this.#reader = null;
  }

  /** The address of a path of the gateway's own interface. */
  url(path) {
    return new URL(path, document.baseURI).href;
  }

  /** The headers of a request that reads. */
  headers() {
    return bearer(this.#reader);
  }

  /** @throws {ApiError} */
  get(path) {
    return this.#send(path, { headers: this.headers() });
  }

  /**
   * @param {{asAdmin?: boolean}} [options]
   * @throws {ApiError}
   */
  post(path, body = {}, { asAdmin = false } = {}) {
    const key = asAdmin ? bearer(this.#admin ?? this.#reader) : this.headers();
    const headers = { ...key, "Content-Type": "application/json", "X-Lanekeeper-Request": "1" };
    return this.#send(path, { method: "POST", headers, body: JSON.stringify(body) });
  }

  async #send(path, options) {
    let response;
    try {
      const settings = { cache: "no-store", credentials: "omit", redirect: "error" };
      response = await fetch(this.url(path), { ...settings, signal: AbortSignal.timeout(30_000), ...options });
    } catch {
      throw new ApiError(0, "The gateway cannot be reached.", null);
    }
    const body = await response.json().catch(() => null);
    if (response.ok) return body;
    const message = typeof body?.message === "string" ? body.message : `The gateway answers ${response.status}.`;
    throw new ApiError(response.status, message, retryAfter(body, response.headers.get("retry-after")));
  }
}

function bearer(key) {
  return key === null ? {} : { Authorization: `Bearer ${key}` };
}
