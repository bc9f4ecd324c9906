#!/usr/bin/env bash
# tools/lint.sh format|tidy [REVISION]  checks the C++ files that changed since REVISION (default: all of them).
# tools/lint.sh fix                     formats all of them in place.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:?format, tidy or fix} since=${2:-}

if [ -n "$since" ]; then
  git rev-parse --verify --quiet "$since^{commit}" >/dev/null || { echo "no revision $since" >&2; exit 2; }
  mapfile -t files < <(git diff --name-only --diff-filter=d "$since" -- '*.cpp' '*.hpp')
else
  mapfile -t files < <(git ls-files '*.cpp' '*.hpp')
fi
[ ${#files[@]} -gt 0 ] || { echo "$what: no C++ file changed"; exit 0; }

case $what in
  fix) clang-format-19 -i "${files[@]}" ;;
  format) clang-format-19 --dry-run --Werror "${files[@]}" ;;
  tidy)
    # Headers are seen through the sources that include them. Units that the build does not know (an option
    # is off) have no compile command and are left out. In a change, at most five minutes.
    database=build/test
    mapfile -t units < <(printf '%s\n' "${files[@]}" | grep '\.cpp$' | while read -r f; do
      grep -q "\"file\": \"$PWD/$f\"" $database/compile_commands.json && echo "$f"; done)
    [ ${#units[@]} -gt 0 ] || { echo "tidy: no compiled file changed"; exit 0; }
    rc=0
    printf '%s\0' "${units[@]}" |
      timeout "$([ -n "$since" ] && echo 300 || echo 86400)" xargs -0 -n 1 -P "$(nproc)" clang-tidy-19 -p $database --quiet --warnings-as-errors='*' 2> >(grep -v 'warnings generated' >&2) || rc=$?
    if [ $rc = 124 ]; then echo "tidy: stopped after five minutes; run tools/lint.sh tidy $since for the rest"; rc=0; fi
    exit $rc ;;
  *) echo "unknown check $what: format, tidy or fix" >&2; exit 2 ;;
esac
