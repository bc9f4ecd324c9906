#!/usr/bin/env bash
# From a bare Debian 12 to a reconstructed scan: installs what the program needs, builds it (build/release), reconstructs a measured
# ptychography scan of a Siemens star into out/quickstart, and then lets a flow do it: the scan appears in a watched folder, is
# brought to the computing side, reconstructed, and its pictures come back. Run again, it does only what is missing.
set -euo pipefail
cd "$(dirname "$0")"
if [ $# -gt 0 ]; then sed -n '2,4s/^# //p' "$0"; exit 2; fi

scan=examples/data/siemens-star/siemens-star-small.npz.bz2
out=out/quickstart
say() { printf '\n== %s\n' "$*"; }
give_up() { echo "quickstart: $*" >&2; exit 1; }

say "1 of 5: packages"
tools/install.sh build || give_up "the packages above are needed first"

say "2 of 5: build (build/release)"
mkdir -p build
# A folder that is already configured keeps its options: this may be a developer's.
if [ ! -f build/release/build.ninja ]; then
  cmake --preset quickstart >build/quickstart.log 2>&1 || { tail -n 20 build/quickstart.log >&2; give_up "configuring failed (build/quickstart.log)"; }
fi
cmake --build build/release --target farfield --parallel "$(nproc)" ||
  give_up "the build failed; again: cmake --build build/release --target farfield"

say "3 of 5: reconstruct 516 diffraction patterns of a Siemens star"
build/release/bin/farfield ptychography reconstruct "$scan" --out "$out" \
  --iterations 32 --probe-modes 2 --refine-positions ||
  give_up "the reconstruction failed; again: build/release/bin/farfield ptychography reconstruct $scan --out $out"

say "4 of 5: the same live: sent as a detector would, 200 patterns a second, the image sharpens as they come"
live=out/live
mkdir -p "$live"
build/release/bin/farfield replay "$scan" --to "ipc://$live/socket" --rate 200 --quiet &
detector=$!
trap 'kill "$detector" 2>/dev/null || true' EXIT
build/release/bin/farfield live ptychography --source "@ipc://$live/socket" --like "$scan" --out "$live" \
  --refine-after-scan 40 || give_up "the live reconstruction failed"
wait "$detector" || give_up "the replay of $scan failed"
trap - EXIT
rm -f "$live/socket"

say "5 of 5: the same by itself: a folder that is watched, and a flow"
up=out/up number=100
while [ -e "$up/beamline/input/scan$number" ]; do number=$((number + 1)); done
port=${FARFIELD_QUICKSTART_PORT:-8443}
mkdir -p "$up/arriving/scan$number"
build/release/bin/farfield up --folder "$up" --port "$port" --no-login >/dev/null 2>"$up/log" &
program=$!
trap 'kill "$program" 2>/dev/null || true; wait "$program" 2>/dev/null || true' EXIT
await() {  # TEXT: in what it says
  for _ in $(seq 3000); do
    ! grep -q "$1" "$up/log" || return 0
    kill -0 "$program" 2>/dev/null || { cat "$up/log" >&2; give_up "farfield up has ended; is port $port taken? FARFIELD_QUICKSTART_PORT=9443 ./quickstart.sh"; }
    ! grep "^scan$number: [A-Z]" "$up/log" >&2 || give_up "the run did not succeed"
    sleep 0.2
  done
  give_up "nothing happened for ten minutes; look at: build/release/bin/farfield up --folder $up"
}
await "drop scans into"
cp "$scan" "$up/arriving/scan$number/"
mv "$up/arriving/scan$number" "$up/beamline/input/"
await "scan$number: done"
kill "$program" && wait "$program" || true
trap - EXIT
rmdir "$up/arriving"

say "Done. Look at"
for file in "$out"/*; do echo "  $file"; done
echo "  $live/object_phase.png   (while the patterns came)"
echo "  $up/beamline/recon/$number/object_phase.png   (brought back by the flow $up/flow.json)"
echo "Your own scans: build/release/bin/farfield up --folder $up, then put folders scan1, scan2, ... into $up/beamline/input"
