# shellcheck shell=bash
# ./dev demo: the product full, with a simulated fleet. Sourced by ./dev.

demo_help() {
  cat <<HELP
Usage: ./dev demo [--machines N] [--listen ADDRESS:PORT] [--data-dir FOLDER]

Starts a server of its own with invented clients and simulated machines, which enroll, bring a day of history and then
live: prints where it is and how to sign in. Ctrl-C stops everything; the next ./dev demo goes on with the same fleet.

  --machines N            how many (default: 300)
  --listen ADDRESS:PORT   where browsers connect (default: 127.0.0.1:3002)
  --data-dir FOLDER       everything of it (default: target/demo)
HELP
}

demo() {
  local data=$TARGET/demo listen=127.0.0.1:3002 machines=300
  while (($#)); do
    case $1 in
      --machines) machines=${2:?--machines needs a number} && shift 2 ;;
      --listen) listen=${2:?--listen needs ADDRESS:PORT} && shift 2 ;;
      --data-dir) data=$(realpath -m -- "${2:?--data-dir needs a folder}") && shift 2 ;;
      --help | -h) demo_help && return ;;
      *) die "./dev demo does not know $1; see ./dev demo --help." ;;
    esac
  done
  [[ $machines =~ ^[1-9][0-9]{0,4}$ ]] || die "--machines needs a number from 1 to 99999; this is $machines."
  need_supported_system
  need_writable "$PWD" "$TARGET" "$data"
  need_space "$TARGET"
  need_free_port "$listen"
  mkdir -p "$data"
  exec {UP_LOCK}<"$data"
  flock --nonblock "$UP_LOCK" || die "A server is already up with $data; stop that one first."

  need_packages build-essential curl
  need_postgres
  need_rust
  build_dashboard
  build_programs gururmm-fleet
  demo_setup "$data"
  demo_run "$data" "$listen" "$machines"
}

DEMO_EMAIL=owner@example.com

# The partner and its owner, the first time. The password is new for every demonstration and stands in a file of its own.
demo_setup() {
  local data=$1 password=$1/password
  [[ ! -f $data/set-up ]] || return 0
  (umask 077 && head -c 12 /dev/urandom | base64 --wrap=0 >"$password")
  "$TARGET/up/gururmm-server" admin setup --data-dir "$data/server" --email "$DEMO_EMAIL" --password-stdin \
    --partner "Acme MSP" --client "Acme MSP" --site "Own office" <"$password" >/dev/null 2>"$data/setup.log" ||
    die "The demonstration's server could not be set up: $(tail -n 1 "$data/setup.log")"
  touch "$data/set-up"
}

demo_run() {
  local data=$1 listen=$2 machines=$3 fleet='' waited=0
  SERVER=''
  trap 'trap "" INT TERM HUP; say "Stopping"; stop "$fleet" 30; stop "$SERVER" 30; exit 0' INT TERM HUP
  own_child "$TARGET/up/gururmm-server" serve --data-dir "$data/server" --listen "$listen" >"$data/server.out" 2>"$data/server.log"
  SERVER=$!
  until curl --silent --fail --output /dev/null "http://$listen/ready"; do
    kill -0 "$SERVER" 2>/dev/null || die "The server has stopped: $(tail -n 1 "$data/server.log")"
    ((waited++ < 600)) || die "The server is not ready after a minute; see $data/server.log."
    sleep 0.1 &
    wait $! || true
  done
  say "GuruRMM is at http://$listen; sign in as $DEMO_EMAIL with the password $(<"$data/password")"
  own_child "$TARGET/up/gururmm-fleet" demo --server "http://$listen" --email "$DEMO_EMAIL" --password-file "$data/password" \
    --state "$data/fleet.json" --machines "$machines" 2>"$data/fleet.log"
  fleet=$!
  say "Logs are in $data; Ctrl-C stops everything."
  while kill -0 "$SERVER" 2>/dev/null && kill -0 "$fleet" 2>/dev/null; do
    sleep 0.5 &
    wait $! || true
  done
  stop "$fleet" 30
  stop "$SERVER" 30
  die "The demonstration has ended by itself: $(tail -qn 1 "$data/fleet.log" "$data/server.log")"
}
