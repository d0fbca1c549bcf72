// Numbers and times as text. What is not known is a dash.

export const NONE = "–";

const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** `1234` → `1,234` */
export function count(value) {
  return isKnown(value) ? grouped.format(value) : NONE;
}

/** One digit after the point below a hundred, two below one: `9.7`, `0.33`, `0`, `120`. */
export function decimal(value) {
  if (!isKnown(value)) return NONE;
  return value >= 100 || Number.isInteger(value) ? grouped.format(value) : value.toFixed(value < 1 ? 2 : 1);
}

/** A rate that ticks, with the digits after the point that suit its limit, so that it keeps its width. */
export function ticking(value, limit) {
  if (!isKnown(value)) return NONE;
  return value >= 100 ? grouped.format(value) : value.toFixed(limit < 1 ? 2 : 1);
}

/** A part of a whole: `0.123` → `12 %` */
export function percent(part) {
  if (!isKnown(part)) return NONE;
  if (part > 0 && part < 0.01) return "<1 %";
  if (part < 1 && part > 0.99) return ">99 %";
  return `${Math.round(part * 100)} %`;
}

/** A duration in seconds: `0.4 s`, `52 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`. */
export function duration(seconds) {
  if (!isKnown(seconds)) return NONE;
  const value = Math.max(0, seconds);
  if (value < 9.95) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

/** How long an answer takes: `82 ms`, `1.4 s`. */
export function roundTrip(seconds) {
  return isKnown(seconds) && seconds < 0.9995 ? `${Math.round(seconds * 1000)} ms` : duration(seconds);
}

/** A wait that a person sits out, in whole seconds, rounded up: `4 s`. */
export function countdown(seconds) {
  return isKnown(seconds) ? `${Math.max(0, Math.ceil(seconds))} s` : NONE;
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** `1048576` → `1 MiB` */
export function bytes(value) {
  if (!isKnown(value)) return NONE;
  let [rest, unit] = [value, 0];
  while (rest >= 1024 && unit < UNITS.length - 1) [rest, unit] = [rest / 1024, unit + 1];
  return `${decimal(Math.round(rest * 10) / 10)} ${UNITS[unit]}`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** The time of day of a moment (RFC 3339, or milliseconds), in the zone of the browser: `10:15:32`. */
export function timeOfDay(moment) {
  const date = new Date(moment ?? NaN);
  return Number.isNaN(date.getTime()) ? NONE : clock.format(date);
}

/** `1` → `1 call`, `2` → `2 calls` */
export function plural(value, noun, nouns = `${noun}s`) {
  return `${count(value)} ${value === 1 ? noun : nouns}`;
}

/** A name as it is in JSON, for people: `half_open` → `half open`. */
export function words(name) {
  return typeof name === "string" && name !== "" ? name.replaceAll("_", " ") : NONE;
}

/** A message of the gateway as a sentence: with a capital letter and a full stop. */
export function sentence(message) {
  const whole = String(message ?? "").trim();
  if (whole === "") return "";
  return whole[0].toUpperCase() + whole.slice(1) + (/[.!?…]$/.test(whole) ? "" : ".");
}

/** At most `limit` characters of a text; what is cut off shows as an ellipsis. */
export function clip(text, limit) {
  const whole = String(text ?? "");
  return whole.length > limit ? `${whole.slice(0, limit - 1)}…` : whole;
}
