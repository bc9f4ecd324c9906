#!/usr/bin/env bash
# tools/install.sh SECTION... installs the Debian packages that these sections of tools/packages.txt name,
# where they are missing. Does nothing, and needs no network and no root, when all are there.
set -euo pipefail
list=$(dirname "$0")/packages.txt

wanted=$(awk -v sections=" $* " '
  /^\[/      { on = index(sections, " " substr($1, 2, length($1) - 2) " ") }
  /^[a-z0-9]/ && on { print $1 }' "$list")

if ! command -v dpkg-query >/dev/null; then
  echo "This is not Debian: please install the like of these yourself:" $wanted >&2
  exit 1
fi
# A package that provides another's name (pkgconf for pkg-config) counts under the name it provides, too.
present=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | awk '$1 == "installed" { print $2 }')
missing=$(comm -23 <(sort -u <<<"$wanted") <(sort <<<"$present") | xargs)
[ -n "$missing" ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "These packages are missing and need root or sudo to install: $missing" >&2; exit 1; }
  as_root=(sudo)
fi
echo "Installing: $missing"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends $missing; } >"$log" 2>&1; then
  tail -n 15 "$log" >&2
  echo "Could not install: $missing" >&2
  exit 1
fi
