# shellcheck shell=bash
# ./dev dist: everything a release consists of, made on one Debian machine. Sourced by ./dev.

# In the order they are built: what a package is made around comes before it.
DIST_TARGETS=(agent-linux-x86_64 agent-linux-aarch64 agent-windows-x86_64 agent-macos-aarch64 agent-macos-x86_64
  server-linux-x86_64 cli-linux-x86_64 cli-linux-aarch64 cli-windows-x86_64 cli-macos-aarch64 cli-macos-x86_64
  deb-agent-x86_64 deb-agent-aarch64 rpm-agent-x86_64 rpm-agent-aarch64 deb-server-x86_64 msi-agent-x86_64 pkg-agent-aarch64 pkg-agent-x86_64 sbom)

# shellcheck source=tools/dist/build.sh
. tools/dist/build.sh
# shellcheck source=tools/dist/linux.sh
. tools/dist/linux.sh
# shellcheck source=tools/dist/windows.sh
. tools/dist/windows.sh
# shellcheck source=tools/dist/macos.sh
. tools/dist/macos.sh
# shellcheck source=tools/dist/sbom.sh
. tools/dist/sbom.sh
# shellcheck source=tools/dist/sign.sh
. tools/dist/sign.sh

dist_help() {
  cat <<HELP
Usage: ./dev dist [--only PART,…] [--sign-SYSTEM COMMAND] [--verify-SYSTEM COMMAND]
       [--update-keys FOLDER] [--update-channels CHANNEL,…]

Builds what a release consists of into target/dist: agents, server, packages, bills of materials, SHA256SUMS and
manifest.json. A part that fails does not keep the others from being built; the command then ends with an error.

  --only PART,…            these parts and what they are made of; a part stands for all whose name it begins.
$(printf '%s ' "${DIST_TARGETS[@]}" | fold --spaces --width 85 | sed 's/^/                           /')
  --sign-SYSTEM COMMAND    what signs the files of windows, macos, deb or rpm; {in} is the file, {out} the signed one
  --verify-SYSTEM COMMAND  what proves that {in} is signed; it must fail where it is not

  --update-keys FOLDER     agents trust updates that are signed with these keys, and the built agents are signed with
                           them; a folder that does not exist is made, with new keys
  --update-channels LIST   channels these agents are published in: stable (unless said otherwise), current, beta

Each is also taken from GURURMM_SIGN_WINDOWS, GURURMM_VERIFY_WINDOWS and so on. See docs/releasing.md.
HELP
}

dist() {
  local only=''
  UPDATE_KEYS='' UPDATE_CHANNELS=stable
  while (($#)); do
    case $1 in
      --help | -h) dist_help && return ;;
      --only) only=${2:?--only needs names of parts} && shift 2 ;;
      --sign-windows | --sign-macos | --sign-deb | --sign-rpm | --verify-windows | --verify-macos | --verify-deb | --verify-rpm)
        local name=${1#--}
        name=GURURMM_${name//-/_}
        export "${name^^}=${2:?$1 needs a command}" && shift 2
        ;;
      --update-keys) UPDATE_KEYS=${2:?--update-keys needs a folder} && shift 2 ;;
      --update-channels) UPDATE_CHANNELS=${2:?--update-channels needs names} && shift 2 ;;
      *) die "./dev dist does not know $1; see ./dev dist --help." ;;
    esac
  done
  local wanted target
  wanted=$(wanted_targets "$only")
  need_supported_system
  is_debian || die "./dev dist needs Debian, for its cross compilers and packaging tools."
  need_writable "$PWD" "$TARGET"
  check_signers

  # Only what is whole ever stands in target/dist.
  DIST=$TARGET/dist.new DIST_LOGS=$TARGET/dist-logs
  rm -rf "$DIST" "$DIST_LOGS"
  mkdir -p "$DIST" "$DIST_LOGS"
  need_packages build-essential git
  need_rust
  name_version
  say "GuruRMM $VERSION${BUILD:+ ($BUILD)}"
  trust_update_keys
  for target in $wanted; do
    dist_target "$target"
  done
  finish_dist
}

# Agents are built with the root of the keys that their updates will be signed with.
trust_update_keys() {
  if [[ ! $UPDATE_KEYS ]]; then
    say "[WARNING] Without --update-keys these agents cannot update themselves."
    return
  fi
  # A folder that is there and empty was made for them; theirs is private.
  rmdir -- "$UPDATE_KEYS" 2>/dev/null || true
  if [[ ! -e $UPDATE_KEYS ]]; then
    cargo run --quiet --package xtask -- update-repository keys --dir "$UPDATE_KEYS"
  fi
  [[ -f $UPDATE_KEYS/1.root.json ]] || die "$UPDATE_KEYS holds something else than keys for updates: there is no 1.root.json."
  GURURMM_UPDATE_ROOT=$(realpath "$UPDATE_KEYS/1.root.json")
  export GURURMM_UPDATE_ROOT
}

# Signs the agents into the repository beside the keys, which remembers all versions; a copy goes with the rest.
sign_updates() {
  [[ $UPDATE_KEYS ]] || return 0
  grep -q '^agent-' "$DIST_LOGS/built" || return 0
  cargo run --quiet --package xtask -- update-repository publish --keys "$UPDATE_KEYS" \
    --repository "$UPDATE_KEYS/repository" --dist "$DIST" --channels "$UPDATE_CHANNELS"
  cp -a "$UPDATE_KEYS/repository" "$DIST/updates"
  check_updates
}

# What is shipped takes what is published with it: every agent that runs here, by the roots it was built with.
check_updates() {
  local arch agent
  for arch in x86_64 aarch64; do
    agent=$DIST/gururmm-agent-linux-$arch
    [[ ! -f $agent ]] || run_for "$arch" "$agent" check-updates "$DIST/updates" || die "${agent##*/} would not take its updates."
  done
  agent=$DIST/gururmm-agent-windows-x86_64.exe
  if [[ -f $agent ]]; then
    under_wine "$agent" check-updates "Z:${DIST//\//\\}\\updates" || die "${agent##*/} would not take its updates."
    stop_wine
  fi
}

# wanted_targets LIST: the targets that the list names, and those they are made of, in the order of building
wanted_targets() {
  local target part found wanted=' '
  if [[ ! $1 ]]; then
    printf '%s\n' "${DIST_TARGETS[@]}"
    return
  fi
  for part in ${1//,/ }; do
    found=no
    for target in "${DIST_TARGETS[@]}"; do
      [[ $target == "$part" || $target == "$part"-* ]] || continue
      found=yes
      wanted+="$target $(made_of "$target") "
    done
    [[ $found == yes ]] || die "There is no part $part; see ./dev dist --help."
  done
  for target in "${DIST_TARGETS[@]}"; do
    [[ $wanted != *" $target "* ]] || echo "$target"
  done
}

# made_of TARGET: the program that a package is made around
made_of() {
  case $1 in
    deb-server-* | rpm-server-*) echo "server-linux-${1##*-}" ;;
    deb-* | rpm-*) echo "agent-linux-${1##*-}" ;;
    msi-*) echo "agent-windows-${1##*-}" ;;
    pkg-*) echo "agent-macos-${1##*-}" ;;
  esac
}

# The workspace's version, and beside it, where this is not exactly the commit that is tagged with it, what it is.
name_version() {
  VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p;T;q' Cargo.toml)
  BUILD='' PACKAGE_VERSION=$VERSION
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
  export SOURCE_DATE_EPOCH
  [[ $(git describe --tags --exact-match --dirty 2>/dev/null) == "v$VERSION" ]] && return
  BUILD=$(git describe --tags --always --dirty)
  # A tilde sorts before the release, and a later build after an earlier one.
  PACKAGE_VERSION=$VERSION~git$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$(git rev-parse --short HEAD)
  [[ $BUILD != *-dirty ]] || PACKAGE_VERSION+=.dirty
}

# dist_target NAME: builds one; how it went is a line in the table
dist_target() {
  local name=$1 base started=$SECONDS status=0 log=$DIST_LOGS/$1.log
  for base in $(made_of "$name"); do
    if ! grep -q "^$base	" "$DIST_LOGS/built"; then
      dist_failed "$name" "$base was not built"
      return
    fi
  done
  # In the background, because only there bash leaves at the first failure inside a function that is being tested.
  (need_for "$name") &
  if ! wait $!; then
    dist_failed "$name" 'what it is built with cannot be installed'
    return
  fi
  say "Building $name"
  (build_target "$name") >"$log" 2>&1 &
  wait $! || status=$?
  if ((status != 0)); then
    dist_failed "$name" "$(tail -n 1 "$log")"
    return
  fi
  printf '%s\tbuilt\t%s\n' "$name" $((SECONDS - started)) >>"$DIST_LOGS/table"
}

dist_failed() {
  say "$1 FAILED: $2 (log: $DIST_LOGS/$1.log)" >&2
  printf '%s\t%s\n' "$1" "$2" >>"$DIST_LOGS/failed"
  printf '%s\tFAILED\t0\n' "$1" >>"$DIST_LOGS/table"
}

# need_for TARGET: what builds it, and what proves that it runs
need_for() {
  case $1 in
    agent-linux-aarch64 | cli-linux-aarch64) need_zig && need_packages qemu-user-static libc6-arm64-cross ;;
    agent-linux-* | agent-macos-* | cli-linux-* | cli-macos-*) need_zig ;;
    server-linux-*) need_zig && need_node && need_npm_packages ;;
    agent-windows-* | cli-windows-*) need_packages gcc-mingw-w64-x86-64 nasm && need_wine ;;
    deb-*) need_packages dpkg lintian ;;
    rpm-*) need_packages rpm ;;
    msi-*) need_packages gcc-mingw-w64-x86-64 msitools wixl && need_wine ;;
    sbom) need_node && need_npm_packages && need_cargo_tool cargo-cyclonedx 0.5.9 ;;
  esac
}

build_target() {
  case $1 in
    agent-linux-*) build_linux agent "${1#agent-linux-}" ;;
    cli-linux-*) build_linux cli "${1#cli-linux-}" ;;
    agent-windows-* | cli-windows-*) build_windows "${1%%-*}" ;;
    agent-macos-*) build_macos agent "${1#agent-macos-}" ;;
    cli-macos-*) build_macos cli "${1#cli-macos-}" ;;
    server-linux-*) build_linux server "${1#server-linux-}" ;;
    deb-agent-*) build_deb agent "${1#deb-agent-}" ;;
    deb-server-*) build_deb server "${1#deb-server-}" ;;
    rpm-agent-*) build_rpm "${1#rpm-agent-}" ;;
    msi-agent-*) build_msi ;;
    pkg-agent-*) build_pkg "${1#pkg-agent-}" ;;
    sbom) build_sbom ;;
  esac
}

# built TARGET FILE KIND OS ARCH SIGNED RAN-HERE NOTE: enters an artefact for manifest.json
built() {
  local IFS=$'\t'
  printf '%s\n' "$*" >>"$DIST_LOGS/built"
}

# The sums and the manifest, and then all of it in its place.
finish_dist() {
  touch "$DIST_LOGS/built" "$DIST_LOGS/failed"
  cargo run --quiet --package xtask -- dist-manifest --dir "$DIST" --version "$VERSION" ${BUILD:+--build "$BUILD"} \
    --built-at "$SOURCE_DATE_EPOCH" --built "$DIST_LOGS/built" --failed "$DIST_LOGS/failed"
  sign_updates
  say ''
  column --table --separator $'\t' --table-columns PART,STATE,SECONDS "$DIST_LOGS/table"
  if [[ ! -s $DIST_LOGS/built ]]; then
    die "Nothing was built; $TARGET/dist is as it was."
  fi
  say ''
  # ran_here, signed and the notes, as they stand in the manifest
  column --table --separator $'\t' --table-columns PART,FILE,KIND,SYSTEM,ARCH,SIGNED,RAN,NOTE "$DIST_LOGS/built"
  rm -rf "$TARGET/dist.old"
  [[ ! -e $TARGET/dist ]] || mv --no-target-directory "$TARGET/dist" "$TARGET/dist.old"
  mv --no-target-directory "$DIST" "$TARGET/dist"
  rm -rf "$TARGET/dist.old"
  say ''
  say "All of it is in $TARGET/dist."
  [[ ! -s $DIST_LOGS/failed ]] || die "Some parts failed; their logs are in $DIST_LOGS."
}
