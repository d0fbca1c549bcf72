// What the page remembers is in the fragment of its address: the account, and the instruments of the prices panel.
// A fragment is never sent to a server, and a desk can bookmark it.

/** The most instruments that the prices panel holds. */
export const MAX_INSTRUMENTS = 50;

/**
 * Turns what a person enters into names of instruments, without repetition. Commas, semicolons, tabs and lines separate
 * them, and spaces before an exchange (`NSE:`), because a field of one line turns the lines of a list into spaces.
 */
export function parseInstruments(entered, limit = MAX_INSTRUMENTS) {
  const names = entered
    .split(/[,;\t\r\n]|\s+(?=\w+:)/)
    .map((name) => name.trim().toUpperCase())
    .filter(Boolean);
  return [...new Set(names)].slice(0, limit);
}

/** @returns {{account: string | null, instruments: string[], isFollowing: boolean}} */
export function parseHash(hash) {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  return {
    account: fields.get("account"),
    instruments: parseInstruments(fields.get("i") ?? ""),
    isFollowing: fields.get("follow") === "1",
  };
}

export function formatHash({ account, instruments, isFollowing }) {
  const parts = [];
  if (account) parts.push(`account=${encodeURIComponent(account)}`);
  if (instruments.length > 0) parts.push(`i=${instruments.map(encodeURIComponent).join(",").replaceAll("%3A", ":")}`);
  if (isFollowing) parts.push("follow=1");
  return parts.length === 0 ? "" : `#${parts.join("&")}`;
}
