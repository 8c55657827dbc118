#!/bin/sh
# Installs the GuruRMM agent on Linux. The site's enrollment key comes on standard input:
#
#   install.sh --server URL --site CODE [--ca-fingerprint sha256:...] < key
#
# Running it again is fine: an enrolled machine keeps its identity. Everything stands in functions, so that half a
# download does nothing.
set -eu

# Empty where the server has no agent for the processor.
AGENT_SHA256_X86_64=@AGENT_SHA256_X86_64@
AGENT_SHA256_AARCH64=@AGENT_SHA256_AARCH64@

server='' site='' ca_fingerprint='' arch='' sha256='' folder='' stage=arguments

main() {
  read_arguments "$@"

  stage=requirements
  [ "$(id -u)" -eq 0 ] || fail 'run this as root'
  [ "$(uname -s)" = Linux ] || fail 'this is the installer for Linux'
  choose_agent
  for tool in curl sha256sum mktemp; do
    command -v "$tool" >/dev/null || fail "$tool is missing; install it and run this again"
  done

  umask 077
  # Not in /tmp, where programs may not be allowed to run.
  folder=$(mktemp -d /var/lib/gururmm-install.XXXXXXXX)
  trap clean_up EXIT
  trap 'exit 1' HUP INT TERM

  stage=key
  head -c 300 >"$folder/key"
  grep -q '^gek_' "$folder/key" || fail 'no enrollment key came on standard input'

  stage=download
  fetch -o "$folder/gururmm-agent" "$server/install/agent/linux-$arch" 2>"$folder/error" </dev/null || fail_with_output

  stage=verify
  echo "$sha256  $folder/gururmm-agent" | sha256sum -c --status - ||
    fail 'the download is not what the server promised; copy the command from the dashboard again'
  chmod 755 "$folder/gururmm-agent"

  stage=install
  set -- install --server "$server" --site "$site" --key-file "$folder/key"
  [ -z "$ca_fingerprint" ] || set -- "$@" --ca-fingerprint "$ca_fingerprint"
  "$folder/gururmm-agent" "$@" 2>"$folder/error" </dev/null || fail_with_output
  cat "$folder/error" >&2
}

read_arguments() {
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1 needs a value"
    case "$1" in
      --server) server=${2%/} ;;
      --site) site=$2 ;;
      --ca-fingerprint) ca_fingerprint=$2 ;;
      *) fail "unknown option $1" ;;
    esac
    shift 2
  done
  [ -n "$server" ] || fail '--server is missing'
  [ -n "$site" ] || fail '--site is missing'
}

choose_agent() {
  case "$(uname -m)" in
    x86_64 | amd64) arch=x86_64 sha256=$AGENT_SHA256_X86_64 ;;
    aarch64 | arm64) arch=aarch64 sha256=$AGENT_SHA256_AARCH64 ;;
    *) fail "there is no agent for $(uname -m)" ;;
  esac
  [ -n "$sha256" ] || fail "this server has no agent for $arch; its operator builds it by ./dev dist"
}

# With the server's own CA there is no root to trust yet: the checksum vouches for the download, the agent pins the CA.
fetch() {
  if [ -n "$ca_fingerprint" ]; then
    curl -fsSk --retry 3 "$@"
  else
    curl -fsS --retry 3 "$@"
  fi
}

fail_with_output() {
  cat "$folder/error" >&2
  fail "$(tail -n 3 "$folder/error" | tr '\n' ' ')"
}

fail() {
  echo "gururmm: $stage: $1" >&2
  [ -z "$server" ] || report "$1"
  exit 1
}

# Tells the server, so that someone sees it; that this fails too changes nothing.
report() {
  command -v curl >/dev/null || return 0
  printf '{"site_code":"%s","stage":"%s","error":"%s","hostname":"%s","os_type":"linux"}' \
    "$(plain "$site")" "$stage" "$(plain "$1")" "$(plain "$(uname -n)")" |
    fetch -m 10 -o /dev/null -H 'Content-Type: application/json' --data-binary @- "$server/api/install-reports" \
      2>/dev/null || true
}

# What needs no quoting in JSON, at most 500 characters of it.
plain() {
  printf '%s' "$1" | tr -cd 'A-Za-z0-9 ._:/()=,-' | cut -c 1-500
}

clean_up() {
  rm -rf "$folder"
}

main "$@"
