# shellcheck shell=bash
# The API called with generated data, as a signed-in owner, against a server of its own. Sourced by ./dev.

# Calls that end the session that all others need, those of the first run, which are gone by then, and the steps of a
# rollout, which there is only where a fleet can update itself. The server's own tests have them.
API_TESTS_WITHOUT='^/api/auth/(logout|register)$|^/api/v1/setup|^/api/v1/sessions?$|^/api/v1/profile/password$|^/api/v1/updates/rollouts/.*/steps$'

api_tests() {
  local folder=$RUN/api port url setup
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  url=http://127.0.0.1:$port
  mkdir -p "$folder"
  make_packages "$folder/dist"
  setpriv --pdeathsig TERM "$TARGET/debug/gururmm-server" serve --data-dir "$folder/data" --listen "127.0.0.1:$port" \
    --agent-binary "$TARGET/debug/gururmm-agent" --dist "$folder/dist" >"$folder/server.out" 2>"$folder/server.log" &
  trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
  wait_for_line "#token=" "$folder/server.out" || die "The server does not start: $(tail -n 1 "$folder/server.log")"

  export GURURMM_URL=$url GURURMM_PACKAGE=GuruRMM-0.1.0-x86_64.msi GURURMM_PASSWORD='correct horse battery staple' GURURMM_SETUP GURURMM_TOKEN GURURMM_AGENT
  setup='{"setup_token": "'$(sed -n 's/.*#token=//p' "$folder/server.out")'", "email": "owner@example.com",
    "name": "Olive Owner", "password": "'$GURURMM_PASSWORD'", "partner_name": "Acme IT", "client_name": "Acme Bakery",
    "site_name": "Main street"}'
  GURURMM_SETUP=$(post "$url/api/v1/setup" "$setup")
  GURURMM_TOKEN=$(post "$url/api/auth/login" '{"email": "owner@example.com", "password": "'"$GURURMM_PASSWORD"'"}' |
    sed 's/.*"token": *"\([^"]*\)".*/\1/')
  connect_agent "$url" "$folder"

  local status=0 document=$folder/openapi.json
  "$TARGET/debug/gururmm-server" openapi >"$document"
  (cd tools/schemathesis && "$TOOLS/schemathesis/bin/schemathesis" run "$document" --url "$url" --no-color \
    --phases examples,coverage,fuzzing --max-examples 15 --seed 1 --checks not_a_server_error --exclude-path-regex "$API_TESTS_WITHOUT" \
    --generation-database none) || status=$?
  ((status == 0)) || grep -A 20 panicked "$folder/server.log" || true
  return "$status"
}

# make_packages FOLDER: what there is to hand out; nobody runs it
make_packages() {
  local file kind os arch entries=''
  mkdir -p "$1"
  while read -r file kind os arch; do
    echo "$file" >"$1/$file"
    entries+=${entries:+,}'{"file": "'$file'", "kind": "'$kind'", "os": "'$os'", "arch": "'$arch'", "version": "0.1.0",
      "sha256": "'$(sha256sum "$1/$file" | cut -d ' ' -f 1)'", "size": '$(stat --format %s "$1/$file")', "signed": false,
      "ran_here": false, "note": null}'
  done <<'FILES'
GuruRMM-0.1.0-x86_64.msi msi windows x86_64
gururmm-agent-linux-aarch64 agent linux aarch64
FILES
  echo '{"version": "0.1.0", "built_at": "2026-01-01T00:00:00Z", "artefacts": ['"$entries"'], "failed": []}' >"$1/manifest.json"
}

# connect_agent URL FOLDER: puts a real agent of this machine into GURURMM_AGENT, of which the server has a sample and knows a
# crash. Not for $(…): the agent ends with the shell that starts it.
connect_agent() {
  local url=$1 folder=$2 state=$2/agent log=$2/agent.log setup=$2/setup.json deadline=$((SECONDS + 60))
  (umask 077 && echo "$GURURMM_SETUP" >"$setup")
  json_field secret "$setup" | "$TARGET/debug/gururmm-agent" enroll --server "$url" --site "$(json_field code "$setup")" \
    --key-file - --state-dir "$state" >"$log" 2>&1 || die "The agent cannot enroll: $(tail -n 1 "$log")"
  setpriv --pdeathsig TERM "$TARGET/debug/gururmm-agent" run --state-dir "$state" >>"$log" 2>&1 &
  get "$url/api/agents" >"$folder/agents.json"
  GURURMM_AGENT=$(json_field id "$folder/agents.json")
  until_told "$url/api/v1/agents/$GURURMM_AGENT/metrics/at" '"cpu_count"' "$deadline" || die "The agent sends no sample: $(tail -n 1 "$log")"
  kill -KILL $!
  wait $! 2>/dev/null || true
  setpriv --pdeathsig TERM "$TARGET/debug/gururmm-agent" run --state-dir "$state" >>"$log" 2>&1 &
  until_told "$url/api/v1/agents/$GURURMM_AGENT/crashes" '"cause"' "$deadline" || die "The agent reports no crash: $(tail -n 1 "$log")"
}

# until_told URL TEXT DEADLINE: until what the owner is answered has the text in it
until_told() {
  until [[ $(get "$1") == *"$2"* ]]; do
    ((SECONDS < $3)) || return
    sleep 0.5
  done
}

# get URL: the answer to the owner
get() {
  curl --silent --show-error --header @- "$1" <<<"authorization: Bearer $GURURMM_TOKEN"
}

# post URL JSON: the answer, or a failure
post() {
  curl --silent --show-error --fail-with-body --header 'content-type: application/json' --data "$2" "$1"
}

# wait_for_line TEXT FILE: for half a minute
wait_for_line() {
  local deadline=$((SECONDS + 30))
  until grep -q -- "$1" "$2"; do
    ((SECONDS < deadline)) || return
    sleep 0.2
  done
}
