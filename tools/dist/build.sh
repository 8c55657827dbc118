# shellcheck shell=bash
# The programs of a release, each for its system, and what is checked of them here. Sourced by tools/dist.sh.

# The oldest C library that the Linux programs run with: RHEL 7's. Everything younger runs them too.
GLIBC_FLOOR=2.17

# The oldest macOS: the first one for Apple's own processors.
MACOS_FLOOR=11.0

need_zig() {
  need_venv zig 'cargo-zigbuild==0.24.*' 'ziglang==0.17.*'
}

# program_of agent|server|cli: its file's name
program_of() {
  case $1 in
    cli) echo gururmm ;;
    *) echo "gururmm-$1" ;;
  esac
}

# build_linux agent|server|cli ARCH
build_linux() {
  local what=$1 arch=$2 name=gururmm-$1-linux-$2 program
  program=$(program_of "$what")
  [[ $what != server ]] || build_dashboard
  linux_release "gururmm-$what" "$arch"
  check_names_no_place "$RELEASE/$program"
  check_glibc "$RELEASE/$program"
  check_runs "$VERSION" "$RELEASE/$program" "$arch"
  install -m 755 "$RELEASE/$program" "$DIST/$name"
  built "$what-linux-$arch" "$name" "$what" linux "$arch" no yes "$RAN"
}

# release_programs: the server and the agent of this machine as they are released, in the folder RELEASE
release_programs() {
  local package
  need_zig
  build_dashboard
  for package in gururmm-server gururmm-agent; do
    linux_release "$package" x86_64
  done
}

linux_release() {
  PATH=$TOOLS/zig/bin:$PATH release_build "$1" "$2-unknown-linux-gnu" "$2-unknown-linux-gnu.$GLIBC_FLOOR" cargo-zigbuild zigbuild
}

# build_windows agent|cli
build_windows() {
  local what=$1 name=gururmm-$1-windows-x86_64.exe program note='run under Wine'
  program=$(program_of "$what").exe
  release_build "gururmm-$what" x86_64-pc-windows-gnu x86_64-pc-windows-gnu cargo build
  check_names_no_place "$RELEASE/$program"
  check_windows_program "$RELEASE/$program"
  sign_into windows "$RELEASE/$program" "$DIST/$name"
  chmod 755 "$DIST/$name"
  expect "$VERSION" under_wine "$DIST/$name" --version
  stop_wine
  built "$what-windows-x86_64" "$name" "$what" windows x86_64 "$SIGNED" yes "$note"
}

# build_macos agent|cli ARCH: linked against the names of Apple's libraries, which is all that a linker needs of them
build_macos() {
  local what=$1 arch=$2 target=$2-apple-darwin name=gururmm-$1-macos-$2 program note='built, not run: there is no Mac here'
  program=$(program_of "$what")
  PATH=$TOOLS/zig/bin:$PATH release_build "gururmm-$what" "$target" "$target" cargo-zigbuild zigbuild
  check_names_no_place "$RELEASE/$program"
  sign_into macos "$RELEASE/$program" "$DIST/$name"
  chmod 755 "$DIST/$name"
  /usr/bin/python3 tools/dist/macos/check.py "$DIST/$name" "$arch" "$MACOS_FLOOR"
  built "$what-macos-$arch" "$name" "$what" macos "$arch" "$SIGNED" no "$note"
}

# release_build PACKAGE TARGET TARGET-AS-ASKED COMMAND…: leaves the folder with the program in RELEASE. With rustup's
# standard library for that target, or, where rustup has none to give, with Debian's Rust, which brings its source.
release_build() {
  local package=$1 target=$2 asked=$3 flags=() maps=() path variable=${2//-/_}
  shift 3
  RELEASE=$TARGET/cross/$target/release
  # A release says nothing about where it was built. The last map that fits is the one that is used.
  for path in "${CARGO_HOME:-$HOME/.cargo}=/cargo" "$PWD=/gururmm" "$TARGET=/build"; do
    flags+=("--remap-path-prefix=$path")
    maps+=("-ffile-prefix-map=$path")
  done
  case $target in
    # The time of linking is no part of the program.
    *-windows-*) flags+=('-Clink-arg=-Wl,--no-insert-timestamp') ;;
    # Apple's linker takes the names of symbols away; a tool that did so afterwards would break the signature.
    *-apple-*) flags+=("-Clink-arg=-F$PWD/tools/dist/macos/sdk" "-Clink-arg=-L$PWD/tools/dist/macos/sdk/lib" '-Clink-arg=-Wl,-s') ;;
  esac
  # The time of the commit is for packages. To programs it means nothing, but that they would be built anew for every commit.
  local environment=(--unset=SOURCE_DATE_EPOCH "CFLAGS_$variable=${maps[*]}" "CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")")
  [[ $target != *-apple-* ]] || environment+=(CARGO_PROFILE_RELEASE_STRIP=none "MACOSX_DEPLOYMENT_TARGET=$MACOS_FLOOR")
  # An agent is one of many programs on somebody else's machine: small counts, not quick. It halves program and memory.
  [[ $package != gururmm-agent ]] ||
    environment+=(CARGO_PROFILE_RELEASE_OPT_LEVEL=s CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1)
  local arguments=(--release --locked --package "$package" --target "$asked" --target-dir "$TARGET/cross")
  if rustup target add "$target" >/dev/null 2>&1; then
    env "${environment[@]}" "$@" "${arguments[@]}"
  else
    need_packages cargo-web rustc-web rust-web-src
    say "Debian's Rust builds for $target: rustup has no library for it here."
    env "${environment[@]}" PATH="$TOOLS/zig/bin:/usr/bin:/bin" RUSTC=/usr/bin/rustc CARGO=/usr/bin/cargo RUSTC_BOOTSTRAP=1 \
      "$@" -Zbuild-std=std,panic_unwind "${arguments[@]}"
  fi
}

# check_names_no_place PROGRAM: no folder of this machine is named in it
check_names_no_place() {
  local place
  for place in "$PWD/" "$TARGET/" "${CARGO_HOME:-$HOME/.cargo}/" "${RUSTUP_HOME:-$HOME/.rustup}/"; do
    ! grep --quiet --text --fixed-strings "$place" "$1" || die "${1##*/} names $place, a folder of this machine."
  done
}

# check_glibc PROGRAM: it asks for no younger C library than the oldest it is for
check_glibc() {
  local newest library
  newest=$(objdump --private-headers "$1" | sed -n 's/.*[ (]GLIBC_\([0-9.]*\).*/\1/p' | sort -V | tail -n 1)
  [[ $newest ]] || die "${1##*/} names no version of the C library."
  version_at_least "$GLIBC_FLOOR" "$newest" || die "${1##*/} needs GLIBC_$newest; the oldest to run on has $GLIBC_FLOOR."
  for library in $(objdump --private-headers "$1" | awk '$1 == "NEEDED" { print $2 }'); do
    case $library in
      libc.so.6 | libm.so.6 | libdl.so.2 | librt.so.1 | libpthread.so.0 | libgcc_s.so.1 | ld-linux-*) ;;
      *) die "${1##*/} needs $library, which not every Linux has." ;;
    esac
  done
}

# check_runs VERSION PROGRAM ARCH: here, or in an emulator; says in RAN how
check_runs() {
  local version=$1 program=$2
  RAN='run here'
  [[ $3 == "$(uname -m)" ]] || RAN='run in an emulator (QEMU, user mode)'
  expect "$version" run_for "$3" "$program" --version
}

# run_for ARCH PROGRAM ARGUMENT…
run_for() {
  local arch=$1
  shift
  if [[ $arch == "$(uname -m)" ]]; then "$@"; else "qemu-$arch-static" -L "/usr/$arch-linux-gnu" "$@"; fi
}

# expect TEXT COMMAND…: what it prints ends with the text
expect() {
  local text=$1 output
  shift
  output=$("$@" | tr -d '\r') || die "$* failed."
  [[ $output == *"$text" ]] || die "$* printed $output, not $text."
}

# check_windows_program PROGRAM: one of the console, that needs nothing but Windows
check_windows_program() {
  local headers library
  headers=$(x86_64-w64-mingw32-objdump --private-headers "$1")
  grep -q '^Subsystem.*Windows CUI' <<<"$headers" || die "${1##*/} is not a program of the console."
  while read -r library; do
    grep --quiet --line-regexp --ignore-case --fixed-strings "$library" tools/dist/windows/system-dlls.txt ||
      die "${1##*/} needs $library; if every Windows has it, name it in tools/dist/windows/system-dlls.txt."
  done < <(awk '/DLL Name:/ { print $3 }' <<<"$headers")
}
