#!/usr/bin/env bash
# Installs what the tests need, builds everything, runs the tests and counts them.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
  cat <<'END'
./test.sh                        install, build (build/test), run unit, domain and integration tests and short fuzzing
./test.sh --sanitizers [ROOM...] also build these rooms (default: all) with the address, undefined-behaviour and
                                 thread sanitizers and run their unit tests
./test.sh --since REVISION       also check format and static analysis of the files changed since REVISION, and run
                                 the sanitizers for the rooms that they belong to
./test.sh --long                 the long forms: 10^7 executions of each fuzzer, soak tests, no time limits
One test again: build/test/bin/test_core --gtest_filter=Suite.Name (in the repository root)
The last line is "N passed, N failed, N skipped".
END
}

long=no sanitizers=no since= rooms=()
while [ $# -gt 0 ]; do
  case $1 in
    --long) long=yes ;;
    --sanitizers)
      sanitizers=yes
      while [ $# -gt 1 ] && [[ $2 != --* ]]; do rooms+=("${2//\//_}"); shift; done ;;
    --since)
      [ $# -gt 1 ] || { echo "--since needs a revision" >&2; exit 2; }
      git rev-parse --verify --quiet "$2^{commit}" >/dev/null || { echo "--since: no revision $2" >&2; exit 2; }
      since=$2; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "unknown option $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

# Rooms whose code runs on several threads: the ones that the thread sanitizer looks at.
threaded_rooms=" core codec io net parallel pipeline operators store services_auth services_compute services_transfer services_watch techniques_ptychography techniques_statistics services_flow "
jobs=$(nproc)
# Soak tests ask for FARFIELD_LONG; properties are tried on a hundred times as many cases.
[ $long = no ] || export FARFIELD_LONG=1 RC_PARAMS="max_success=10000"

passed=0 failed=0 skipped=0
failures=() # one line each: what, and how to see it again
say() { printf '\n== %s\n' "$*"; }
fail() { failed=$((failed + 1)); failures+=("$1"); }
skip() { skipped=$((skipped + 1)); echo "skipped: $1"; }

finish() {
  printf '\n'
  if [ ${#failures[@]} -gt 0 ]; then
    echo "Failed:"
    printf '  %s\n' "${failures[@]}"
  fi
  echo "$passed passed, $failed failed, $skipped skipped"
  [ $failed = 0 ]
  exit
}

# configure PRESET [option...]: quiet unless it fails. A stale cache is refreshed by CMake itself.
configure() {
  local log=build/$1.configure.log
  mkdir -p build
  cmake --preset "$@" >"$log" 2>&1 || { cat "$log"; return 1; }
}

# run_tests PRESET [ctest option...]: runs and counts. A GoogleTest program counts each of its cases (from the XML
# that it writes), any other test counts one.
run_tests() {
  local preset=$1 folder=build/$1 name status xml p f s
  shift
  rm -rf "$folder/results" "$folder/junit.xml"
  mkdir -p "$folder/results"
  ctest --preset "$preset" --parallel "$jobs" --output-junit junit.xml "$@" || true
  if [ ! -s "$folder/junit.xml" ]; then
    fail "ctest could not run in $folder"
    return
  fi
  while IFS=$'\t' read -r name status; do
    xml=$folder/results/$name.xml
    if [ -s "$xml" ]; then
      p=0 f=0 s=0
      while IFS=$'\t' read -r result test; do
        case $result in
          passed) p=$((p + 1)) ;;
          skipped) s=$((s + 1)) ;;
          failed) f=$((f + 1)); failures+=("$test    again: $folder/bin/$name --gtest_filter=$test") ;;
        esac
      done < <(awk -f tools/gtest_cases.awk "$xml")
      passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
      # All cases passed and the program still failed: a leak, a crash at its end.
      if [ "$status" = fail ] && [ $f = 0 ]; then fail "$name    again: $folder/bin/$name"; fi
    else
      case $status in
        run) passed=$((passed + 1)) ;;
        fail) fail "$name    again: ctest --preset $preset -R '^$name\$'" ;;
        *) skipped=$((skipped + 1)) ;;
      esac
    fi
  done < <(sed -nE 's/.*<testcase name="([^"]*)" classname="[^"]*" time="[^"]*" status="([^"]*)".*/\1\t\2/p' "$folder/junit.xml")
}

say "Packages"
tools/install.sh build test || { fail "packages could not be installed    again: tools/install.sh build test"; finish; }

say "Build (build/test: release, with MPI)"
configure test || { fail "configuring    again: cmake --preset test"; finish; }
cmake --build build/test --parallel "$jobs" || { fail "the build    again: cmake --build build/test"; finish; }

say "Tests"
run_tests test

say "Fuzzers"
if [ -z "$(find farfield -name '*.fuzz.cpp' -print -quit)" ]; then
  echo "none yet"
elif ! tools/install.sh fuzz; then
  skip "fuzzing: clang-19 with its runtime could not be installed (the seeds were replayed above)"
else
  runs=20000 seconds=15
  [ $long = no ] || runs=10000000 seconds=0
  if configure fuzz -DFUZZ_RUNS=$runs -DFUZZ_SECONDS=$seconds && cmake --build build/fuzz --target fuzzers --parallel "$jobs"; then
    run_tests fuzz
  else
    fail "building the fuzzers    again: cmake --preset fuzz && cmake --build --preset fuzz"
  fi
fi

if [ -n "$since" ]; then
  say "Format and static analysis of what changed since $since"
  if tools/install.sh lint; then
    for check in format tidy; do
      if tools/lint.sh $check "$since"; then passed=$((passed + 1)); else fail "$check    again: tools/lint.sh $check $since"; fi
    done
  else
    skip "format and static analysis: clang-format-19 and clang-tidy-19 could not be installed"
  fi
  mapfile -t rooms < <(git diff --name-only "$since" -- farfield | sed -nE 's,^farfield/(techniques/[^/]+|[^/]+)/.*\.[ch]pp$,\1,p' | tr / _ | sort -u)
  [ ${#rooms[@]} = 0 ] || sanitizers=yes
fi

# sanitize PRESET ROOM...: the unit tests of these rooms in that build. In CI (--since) each may take seven minutes;
# rooms that found no time are counted as skipped.
sanitize() {
  local preset=$1 room built=() tests deadline=$((SECONDS + 420))
  local -x FARFIELD_REQUIRE_REAL= # these builds leave optional parts out
  shift
  say "Sanitizers: $preset for $*"
  configure "$preset" || { fail "configuring    again: cmake --preset $preset"; return; }
  tests=$(ninja -C "build/$preset" -t targets all | sed -nE 's,^(test_[a-z0-9_]+): phony$,\1,p')
  for room; do
    grep -qx "test_$room" <<<"$tests" || continue
    local left=$((deadline - SECONDS))
    [ -n "$since" ] && [ $long = no ] || left=86400
    if [ $left -le 0 ]; then skip "$preset of $room: no time left"; continue; fi
    local rc=0
    timeout $left cmake --build "build/$preset" --target "test_$room" --parallel "$jobs" || rc=$?
    case $rc in
      0) built+=("test_$room") ;;
      124) skip "$preset of $room: no time left" ;;
      *) fail "$preset build of $room    again: cmake --build build/$preset --target test_$room" ;;
    esac
  done
  [ ${#built[@]} = 0 ] || run_tests "$preset" -R "^($(IFS='|'; echo "${built[*]}"))\$"
}

if [ $sanitizers = yes ]; then
  if [ ${#rooms[@]} = 0 ]; then
    mapfile -t rooms < <(ninja -C build/test -t targets all | sed -nE 's,^test_([a-z0-9_]+): phony$,\1,p' | grep -vx house)
  fi
  sanitize asan "${rooms[@]}"
  threaded=()
  for room in "${rooms[@]}"; do [[ $threaded_rooms != *" $room "* ]] || threaded+=("$room"); done
  [ ${#threaded[@]} = 0 ] || sanitize tsan "${threaded[@]}"
fi

finish
