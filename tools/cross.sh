# shellcheck shell=bash
# Does the agent still compile for the systems this machine is not? Sourced by ./dev.

# check_other_systems: Windows and macOS, as far as this machine can. It says which it cannot.
check_other_systems() {
  check_windows
  check_macos
}

check_windows() {
  need_packages gcc-mingw-w64-x86-64 nasm
  check_target Windows x86_64-pc-windows-gnu cargo
}

# Only the compiling is checked: linking for a Mac needs Apple's libraries. Zig's compiler stands in for Apple's where
# a dependency builds C.
check_macos() {
  need_venv zig 'cargo-zigbuild==0.24.*' 'ziglang==0.17.*'
  PATH=$TOOLS/zig/bin:$PATH check_target macOS aarch64-apple-darwin cargo-zigbuild
}

# check_target SYSTEM TARGET COMMAND
check_target() {
  local system=$1 target=$2 command=$3
  if rustup target add "$target" >/dev/null 2>&1; then
    cross_cargo "$target" "$command" check
  elif is_debian; then
    need_packages cargo-web rustc-web rust-web-src
    say "The agent for $system is checked with Debian's Rust: rustup has no library for $target here."
    cross_cargo "$target" "$command" check
  else
    say "The agent for $system was not checked: neither rustup nor this system has the Rust library for $target."
  fi
}

# cross_cargo TARGET COMMAND ARGUMENT…: the agent for another system, with rustup's standard library for it, or, where
# rustup has none to give, with Debian's Rust, which brings the library's source to build
cross_cargo() {
  local target=$1 command=$2
  shift 2
  if rustup target add "$target" >/dev/null 2>&1; then
    "$command" "$@" --package gururmm-agent --target "$target" --target-dir "$TARGET/cross"
  else
    # RUSTC_BOOTSTRAP allows -Zbuild-std; it would change the ordinary build's fingerprints, so it stays in here.
    env PATH="$TOOLS/zig/bin:/usr/bin:/bin" RUSTC=/usr/bin/rustc CARGO=/usr/bin/cargo RUSTC_BOOTSTRAP=1 \
      "$command" "$@" --package gururmm-agent -Zbuild-std=std,panic_unwind --target "$target" --target-dir "$TARGET/cross"
  fi
}
