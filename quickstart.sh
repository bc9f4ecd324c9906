#!/usr/bin/env bash
# From a bare Debian 12 to a reconstructed scan: installs what the program needs, builds it (build/release), and
# reconstructs a measured ptychography scan of a Siemens star into out/quickstart. Run again, it does only what is missing.
set -euo pipefail
cd "$(dirname "$0")"
if [ $# -gt 0 ]; then sed -n '2,3s/^# //p' "$0"; exit 2; fi

scan=examples/data/siemens-star/siemens-star-small.npz.bz2
out=out/quickstart
say() { printf '\n== %s\n' "$*"; }
give_up() { echo "quickstart: $*" >&2; exit 1; }

say "1 of 3: packages"
tools/install.sh build || give_up "the packages above are needed first"

say "2 of 3: build (build/release)"
mkdir -p build
# A folder that is already configured keeps its options: this may be a developer's.
if [ ! -f build/release/build.ninja ]; then
  cmake --preset quickstart >build/quickstart.log 2>&1 || { tail -n 20 build/quickstart.log >&2; give_up "configuring failed (build/quickstart.log)"; }
fi
cmake --build build/release --target farfield --parallel "$(nproc)" ||
  give_up "the build failed; again: cmake --build build/release --target farfield"

say "3 of 3: reconstruct 516 diffraction patterns of a Siemens star"
build/release/bin/farfield ptychography reconstruct "$scan" --out "$out" \
  --iterations 32 --probe-modes 2 --refine-positions ||
  give_up "the reconstruction failed; again: build/release/bin/farfield ptychography reconstruct $scan --out $out"

say "Done. Look at"
for file in "$out"/*; do echo "  $file"; done
