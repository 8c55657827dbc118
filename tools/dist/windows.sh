# shellcheck shell=bash
# The MSI, and Wine to try Windows' programs with. Sourced by tools/dist.sh.

build_msi() {
  local name=gururmm-agent-$VERSION-x86_64.msi program=$DIST/gururmm-agent-windows-x86_64.exe
  make_msi "$program" "$VERSION" "$DIST_LOGS/agent.msi"
  sign_into windows "$DIST_LOGS/agent.msi" "$DIST/$name"
  try_msi "$DIST/$name" "$DIST_LOGS/msi"
  built msi-agent-x86_64 "$name" msi windows x86_64 "$SIGNED" yes 'installed and removed under Wine'
}

# make_msi PROGRAM VERSION TARGET
make_msi() {
  local program=$1 version=$2 target=$3 folder
  folder=$(mktemp --directory)
  x86_64-w64-mingw32-gcc -std=c11 -Wall -Wextra -Werror -Os -s -shared -static-libgcc -Wl,--no-insert-timestamp \
    -o "$folder/unsigned.dll" tools/dist/windows/handover.c -lmsi
  sign_into windows "$folder/unsigned.dll" "$folder/handover.dll"
  # wixl finds what it packs beside the source only.
  cp "$program" "$folder/gururmm-agent.exe"
  cp tools/dist/windows/agent.wxs "$folder"
  # Numbers alone count to Windows Installer; what comes after them is told by the product code.
  (cd "$folder" && wixl --arch x64 --output agent.msi -D Version="${version%%[-+]*}" \
    -D ProductCode="$(uuid_of "$(sha256sum <gururmm-agent.exe) $version")" agent.wxs)
  mv "$folder/agent.msi" "$target"
  rm -r "$folder"
  # What wixl does not write by itself. Secure: handed on to the part of an installation that runs as LocalSystem. Hidden: in
  # no log, which takes the properties' names, and of the action that it is one of those that hide theirs (8192).
  msibuild "$target" -q "UPDATE Property SET Value = 'NEWER;OLDER;SERVER;SITEKEY' WHERE Property = 'SecureCustomProperties'" \
    "INSERT INTO Property (Property, Value) VALUES ('MsiHiddenProperties', 'SITEKEY;HandOver;CustomActionData')" \
    "UPDATE CustomAction SET Type = $((1 + 1024 + 2048 + 8192)) WHERE Action = 'HandOver'"
}

# uuid_of TEXT: always the same for the same text (RFC 9562, version 8)
uuid_of() {
  sha256sum <<<"$1" | sed 's/^\(.\{8\}\)\(.\{4\}\).\(.\{3\}\).\(.\{3\}\)\(.\{12\}\).*/\U\1-\2-8\3-8\4-\5/'
}

# Its services would stay for ever.
stop_wine() {
  WINEPREFIX=$TARGET/wine "$(dirname "$(wine64_program)")/wineserver64" --kill || true
}

# try_msi MSI FOLDER: installs and removes it under Wine
try_msi() {
  local msi=$1 logs=$2 key
  mkdir -p "$logs"
  # Told nothing: installed, and waiting.
  msiexec "$logs/install.log" /i "$msi"
  [[ -f $(wine_folder)/Program\ Files/GuruRMM/gururmm-agent.exe ]] || die 'The MSI installs no program.'
  wine_has 'HKLM\Software\Microsoft\Windows\CurrentVersion\Uninstall' DisplayName 'GuruRMM agent' || die 'The MSI is not among the programs.'
  wine_has 'HKLM\System\CurrentControlSet\Services\GuruRMM' ImagePath gururmm-agent.exe || die 'The MSI registers no service.'
  msiexec "$logs/remove.log" /x "$msi"
  nothing_is_left
  # A machine that cannot enroll is left as it was.
  key=ACME-1.gek_1_$(printf 'a%.0s' {1..43})
  if msiexec "$logs/refused.log" /i "$msi" SERVER=http://127.0.0.1:1 SITEKEY="$key"; then
    die 'The MSI says that a machine was enrolled which was not.'
  fi
  grep --quiet --text 'ERROR gururmm_agent' <(tr -d '\0' <"$logs/refused.log") || die "The MSI does not say why in $logs/refused.log."
  nothing_is_left
  stop_wine
}

# msiexec LOG ARGUMENT…: silently
msiexec() {
  local log=$1
  shift
  [[ ! -f $2 ]] || set -- "$1" "Z:${2//\//\\}" "${@:3}"
  under_wine msiexec "$@" /qn '/l*v' "Z:${log//\//\\}"
}

wine_folder() {
  echo "$TARGET/wine/drive_c"
}

# wine_has KEY VALUE TEXT: below that key of the registry such a value says so
wine_has() {
  under_wine reg query "$1" /s /v "$2" | tr -d '\r' | grep --quiet --fixed-strings "$3"
}

nothing_is_left() {
  local left
  left=$(find "$(wine_folder)/Program Files/GuruRMM" "$(wine_folder)/ProgramData/GuruRMM" 2>/dev/null || true)
  [[ ! $left ]] || die "This is left of the agent: $left"
  ! wine_has 'HKLM\Software\Microsoft\Windows\CurrentVersion\Uninstall' DisplayName 'GuruRMM agent' || die 'The agent is still among the programs.'
  ! wine_has 'HKLM\System\CurrentControlSet\Services' ImagePath gururmm-agent.exe || die 'The service is still registered.'
}

# need_wine: a Windows of Wine's for what is released, with what this Wine lacks
need_wine() {
  need_wine64
  export WINEPREFIX=$TARGET/wine WINEARCH=win64 WINEDEBUG=-all
  [[ -f $WINEPREFIX/.ready ]] && return
  say "Making a Windows of Wine's in ${WINEPREFIX#"$PWD"/}"
  rm -rf "$WINEPREFIX"
  mkdir -p "$WINEPREFIX"
  quietly env DISPLAY= "$(wine64_program)" wineboot --init || die "Wine does not start."
  build_wine_library
  cp "$WINE_LIBRARY" "$WINEPREFIX/drive_c/windows/system32"
  touch "$WINEPREFIX/.ready"
}

# under_wine PROGRAM ARGUMENT…
under_wine() {
  WINEPREFIX=$TARGET/wine WINEARCH=win64 WINEDEBUG=-all DISPLAY='' timeout 300 "$(wine64_program)" "$@"
}
