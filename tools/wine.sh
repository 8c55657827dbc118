# shellcheck shell=bash
# The agent for Windows, tried under Wine. Sourced by ./dev.

WINE_KEYS=$TARGET/wine-keys
WINE_LIBRARY=$TARGET/wine-library/bcryptprimitives.dll

# try_windows_agent: builds the agent for Windows and puts it through its life on a Windows of Wine's own
try_windows_agent() {
  local folder=$TARGET/wine-packages program=$TARGET/wine-packages/gururmm-agent.exe version msis=()
  build_windows_agent
  build_wine_library
  mkdir -p "$folder"
  # As a release is; with its debugging information it would take minutes to pack.
  x86_64-w64-mingw32-strip -o "$program" "$TARGET/cross/x86_64-pc-windows-gnu/debug/gururmm-agent.exe"
  name_version
  for version in "$VERSION" 10.0.0 10.1.0; do
    as_version "$program" "$version" "$folder/$version.exe"
    make_msi "$folder/$version.exe" "$version" "$folder/$version.msi"
    msis+=(--msi "$folder/$version.msi")
  done
  "$TARGET/debug/xtask" windows-agent --update-keys "$WINE_KEYS" --program "$program" "${msis[@]}" \
    --unit-tests "$UNIT_TESTS" --wine "$(wine64_program)" --library "$WINE_LIBRARY" --bin-dir "$TARGET/debug"
  # One that failed ended it.
  echo "$(grep --count '^\[OK\]' "$STEP.log") 0" >>"$STEP.count"
}

# as_version PROGRAM VERSION TARGET: the same program as another version, which stands in it behind a mark
as_version() {
  # shellcheck disable=SC2016 # perl's own
  perl -0777 -pe 'BEGIN { $version = shift } s/(\Q@(#)gururmm-agent \E)([^\0]*\0*)/$1 . $version . "\0" x (length($2) - length $version)/e
    or die "no mark"' "$2" "$1" >"$3"
}

need_wine64() {
  need_packages gcc-mingw-w64-x86-64 libwine msitools nasm wine wine64 wixl
  rustup target add x86_64-pc-windows-gnu >/dev/null 2>&1 || need_packages cargo-web rustc-web rust-web-src
}

# Wine's program itself: Debian's wrapper would ask for 32 bits, too.
wine64_program() {
  local program
  for program in /usr/lib/wine/wine64 /usr/lib/x86_64-linux-gnu/wine/wine64 /usr/bin/wine64; do
    [[ -x $program ]] && echo "$program" && return
  done
  die "There is no wine64 here."
}

# As quick to build as the tests' own programs, and kept with the other builds for foreign systems.
# Leaves the unit tests' program in UNIT_TESTS.
build_windows_agent() {
  local messages target=x86_64-pc-windows-gnu
  # It takes updates that are signed with these keys.
  [[ -f $WINE_KEYS/1.root.json ]] || "$TARGET/debug/xtask" update-repository keys --dir "$WINE_KEYS" >/dev/null
  local -x GURURMM_UPDATE_ROOT=$WINE_KEYS/1.root.json
  export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc
  cross_cargo "$target" cargo build --quiet --locked || die "The agent for Windows does not build."
  messages=$(cross_cargo "$target" cargo test --quiet --locked --lib --no-run --message-format json) ||
    die "The agent's tests do not build for Windows."
  UNIT_TESTS=$(sed -n 's/.*"executable":"\([^"]*\.exe\)".*/\1/p' <<<"$messages")
  [[ -f $UNIT_TESTS ]] || die "The agent's tests for Windows were not found."
}

# What Wine 8 lacks.
build_wine_library() {
  mkdir -p "$(dirname "$WINE_LIBRARY")"
  x86_64-w64-mingw32-gcc -std=c11 -Wall -Wextra -O2 -s -shared -o "$WINE_LIBRARY" tools/wine/bcryptprimitives.c -ladvapi32
}
