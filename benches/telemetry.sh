#!/usr/bin/env bash
# Measures the cost of a call with spans and events compiled in and no subscriber, against a build without
# them. The two builds run in turns, so that other load on the machine affects both alike, and on one core
# if there is taskset: see benches/lane.rs.
#
#   benches/telemetry.sh [TURNS]
set -euo pipefail
cd "$(dirname "$0")/.."

build() {
  cargo bench --quiet --no-run -p lanekeeper-benches "$@" --bench telemetry --message-format=json |
    python3 -c '
import json, sys
for line in sys.stdin:
    if line.startswith("{"):
        made = json.loads(line)
        if made.get("executable") and made["target"]["name"] == "telemetry":
            print(made["executable"])'
}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cp "$(build)" "$out/without"
cp "$(build --features tracing)" "$out/with"

pin=()
if command -v taskset >/dev/null; then pin=(taskset -c 0); fi
export LANEKEEPER_ROUNDS=10
for turn in $(seq "${1:-200}"); do
  for one in without with; do
    # The time of the plain call, in microseconds.
    "${pin[@]}" "$out/$one" | sed -n 's/^the same call.*bare *\([0-9.]*\) us.*/\1/p' >> "$out/$one.us"
  done
done
paste "$out/with.us" "$out/without.us" | python3 -c '
import statistics, sys
both = [tuple(map(float, line.split())) for line in sys.stdin]
ratio = statistics.median(a / b for a, b in both)
quiet = [sorted(times)[len(both) // 10] for times in zip(*both)]
print(f"with {statistics.median(a for a, _ in both):.3f} us   "
      f"without {statistics.median(b for _, b in both):.3f} us   ratio {ratio:.3f}   "
      f"in the quietest tenth {quiet[0] / quiet[1]:.3f}")'
