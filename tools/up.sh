# shellcheck shell=bash
# ./dev up: the server, and an agent for this very machine. Sourced by ./dev.

up_help() {
  cat <<HELP
Usage: ./dev up [--data-dir FOLDER] [--listen ADDRESS:PORT] [--no-agent]

Builds the dashboard, the server and the agent, starts the server, prints where it is and the one-time link to set it
up, and then manages this machine with it. Ctrl-C stops everything; the next ./dev up goes on with the same data.

  --data-dir FOLDER       everything GuruRMM keeps (default: ./data)
  --listen ADDRESS:PORT   where browsers and agents connect (default: 127.0.0.1:3001)
  --no-agent              the server alone
HELP
}

up() {
  local data=$PWD/data listen=127.0.0.1:3001 with_agent=yes
  while (($#)); do
    case $1 in
      --data-dir) data=$(realpath -m -- "${2:?--data-dir needs a folder}") && shift 2 ;;
      --listen) listen=${2:?--listen needs ADDRESS:PORT} && shift 2 ;;
      --no-agent) with_agent=no && shift ;;
      --help | -h) up_help && return ;;
      *) die "./dev up does not know $1; see ./dev up --help." ;;
    esac
  done
  need_supported_system
  need_writable "$PWD" "$TARGET" "$data"
  need_space "$TARGET"
  need_space "$data"
  need_free_port "$listen"
  mkdir -p "$data"
  # Two servers over one data folder would fight for the database; the lock goes with this process.
  exec {UP_LOCK}<"$data"
  flock --nonblock "$UP_LOCK" || die "GuruRMM is already up with $data; stop that one first."

  need_packages build-essential
  need_postgres
  need_rust
  build_dashboard
  build_programs
  run_server_and_agent "$data" "$listen" "$with_agent"
}

# need_free_port ADDRESS:PORT
need_free_port() {
  local host=${1%:*} port=${1##*:}
  [[ $1 =~ ^[^:].*:[0-9]+$ ]] || die "--listen needs ADDRESS:PORT, for example 127.0.0.1:3001; this is $1."
  if (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null; then
    die "Port $port on $host is taken; free it, or choose another, for example with --listen $host:$((port + 1))."
  fi
}

# The built pages are kept while nothing that they are made of has changed.
build_dashboard() {
  local stamp=dashboard/dist/.built-from now
  now=$(find dashboard \( -name node_modules -o -name dist -o -name e2e -o -name 'test-results' \) -prune \
    -o -type f -print0 | sort --zero-terminated | xargs --null sha256sum | sha256sum)
  [[ -f $stamp && $(<"$stamp") == "$now" ]] && return
  need_node
  need_npm_packages
  say "Building the dashboard"
  quietly npm --prefix dashboard run build || die "The dashboard does not build."
  echo "$now" >"$stamp"
}

# build_programs [PACKAGE…]: server, agent and these
build_programs() {
  local quiet=() packages=(--package gururmm-server --package gururmm-agent)
  packages+=("${@/#/--package=}")
  # A person sees how far it is, a log does not need to.
  [[ -t 2 ]] || quiet=(--quiet)
  [[ -x $TARGET/up/gururmm-server ]] || say "Building server and agent; this first time takes a few minutes"
  cargo build "${quiet[@]}" --profile up "${packages[@]}" ||
    die "Server and agent do not build."
}

run_server_and_agent() {
  local data=$1 listen=$2 with_agent=$3 programs=$TARGET/up logs=$TARGET/up-logs
  local arguments=(serve --data-dir "$data" --listen "$listen")
  SERVER='' AGENT='' AGENT_STARTED=0
  mkdir -p "$logs"
  [[ $with_agent == no ]] || arguments+=(--local-agent "$programs/gururmm-agent")
  trap 'stop_everything; exit 0' INT TERM HUP
  # What the server has to tell a person (address, setup link) comes by its standard output, its log by the other.
  own_child "$programs/gururmm-server" "${arguments[@]}" 2>"$logs/server.log"
  SERVER=$!
  say "Logs are in $logs; Ctrl-C stops everything."

  while kill -0 "$SERVER" 2>/dev/null; do
    [[ $with_agent == no ]] || keep_agent_running "$data/local-agent" "$programs/gururmm-agent" "$logs/agent.log"
    # In the background, so that a signal is dealt with at once.
    sleep 0.5 &
    wait $! || true
  done
  stop_agent
  # Its last words are one sentence about why.
  die "The server has stopped: $(tail -n 1 "$logs/server.log" | sed 's/^\[ERROR\] //') (all of its log is in $logs/server.log)"
}

# Starts a program in the background that Ctrl-C does not reach (this script stops it, in the right order) and that
# does not outlive this script even when it is killed.
own_child() {
  setpriv --pdeathsig TERM setsid "$@" {UP_LOCK}<&- </dev/null &
}

# Once somebody has been through the setup, the server leaves a single-use deployment token for this machine.
keep_agent_running() {
  local folder=$1 agent=$2 log=$3 enrollment=$1/enrollment.json
  [[ -z $AGENT ]] || ! kill -0 "$AGENT" 2>/dev/null || return 0
  if [[ -f $enrollment ]]; then
    if "$agent" enroll --server "$(json_field server "$enrollment")" --site "$(json_field site_code "$enrollment")" \
      --key-file "$(json_field key_file "$enrollment")" --state-dir "$folder/state" >>"$log" 2>&1; then
      say "This machine is enrolled; its agent is running."
    else
      say "This machine could not be enrolled: $(tail -n 1 "$log")" >&2
    fi
    # Used or refused, a token is good for one attempt; the server makes another at its next start.
    rm -f "$enrollment" "$(json_field key_file "$enrollment")"
  fi
  [[ -f $folder/state/identity.json ]] || return 0
  if [[ $AGENT ]]; then
    # An agent that cannot run would otherwise be started, and complain, twice a second.
    ((SECONDS >= AGENT_STARTED + 10)) || return 0
    say "The agent has stopped by itself and is started again; see $log." >&2
  fi
  own_child "$agent" run --state-dir "$folder/state" >>"$log" 2>&1
  AGENT=$! AGENT_STARTED=$SECONDS
}

# json_field NAME FILE: a text without escapes, as the server writes this file
json_field() {
  sed -n "s/.*\"$1\"[[:space:]]*:[[:space:]]*\"\([^\"]*\)\".*/\1/p" "$2"
}

stop_agent() {
  stop "$AGENT" 10
  AGENT=''
}

stop_everything() {
  trap '' INT TERM HUP
  say "Stopping"
  stop_agent
  stop "$SERVER" 30
}

# stop PROCESS SECONDS: by TERM, and by KILL when it has not ended by then
stop() {
  local process=$1 deadline=$((SECONDS + $2))
  [[ $process ]] && kill -TERM "$process" 2>/dev/null || return 0
  while kill -0 "$process" 2>/dev/null; do
    if ((SECONDS >= deadline)); then
      say "Process $process did not stop and is killed." >&2
      kill -KILL "$process" 2>/dev/null || true
    fi
    sleep 0.1
  done
  wait "$process" 2>/dev/null || true
}
