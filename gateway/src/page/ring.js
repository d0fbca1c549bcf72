// Memory of a fixed size: the last seconds of a rate, and lists that forget their oldest entries.

/** So many seconds in a row without a value are filled with the next one: the gateway's second is not quite a second. */
const FILLED = 2;

/** The rates of the last `length` seconds, one pair of numbers a second. Seconds without a value are a gap (`NaN`). */
export class RateRing {
  #calls;
  #refused;
  #newest = null;

  /** @param {number} length in seconds */
  constructor(length) {
    this.length = length;
    this.#calls = new Float32Array(length).fill(NaN);
    this.#refused = new Float32Array(length).fill(NaN);
  }

  /**
   * Records the rates of one second. Two values for the same second: the later one counts.
   * @param {number} at the moment, in seconds. If it lies before the newest one by more than the ring is long, the
   *   server's clock was set back, and the ring begins anew
   */
  push(at, calls, refused) {
    const second = Math.round(at);
    if (!Number.isFinite(second)) return;
    const gap = this.#newest === null ? this.length : second - this.#newest;
    if (gap >= this.length || gap <= -this.length) {
      this.#calls.fill(NaN);
      this.#refused.fill(NaN);
    } else if (gap < 0) {
      return;
    } else {
      const filling = gap - 1 <= FILLED ? [calls, refused] : [NaN, NaN];
      for (let missing = 1; missing < gap; missing += 1) this.#set(this.#newest + missing, ...filling);
    }
    this.#newest = second;
    this.#set(second, calls, refused);
  }

  #set(second, calls, refused) {
    const slot = ((second % this.length) + this.length) % this.length;
    this.#calls[slot] = calls;
    this.#refused[slot] = refused;
  }

  /** Returns the values, the oldest first, as `{ calls, refused }`. */
  values() {
    const order = (values) => {
      if (this.#newest === null) return Array.from(values);
      const first = (((this.#newest + 1) % this.length) + this.length) % this.length;
      return Array.from(values, (_, index) => values[(first + index) % this.length]);
    };
    return { calls: order(this.#calls), refused: order(this.#refused) };
  }
}

/**
 * Returns the mean of each value and those before it, `span` together, as far as they are known. A value that is not
 * known stays so.
 */
export function smooth(values, span) {
  return values.map((value, index) => {
    if (Number.isNaN(value)) return value;
    const known = values.slice(Math.max(0, index - span + 1), index + 1).filter((each) => !Number.isNaN(each));
    return known.reduce((sum, each) => sum + each, 0) / known.length;
  });
}

/** Puts `item` at the front of `list`, and drops what is beyond `limit`. */
export function unshiftCapped(list, item, limit) {
  list.unshift(item);
  if (list.length > limit) list.length = limit;
}
