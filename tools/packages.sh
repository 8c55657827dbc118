# shellcheck shell=bash
# The packages that ./dev dist makes, made around what the tests have built: what is in them, what they do to a machine, and
# that signing is what it says. A step of ./dev test. Sourced by ./dev.

PACKAGE_TESTS=(
  an_agents_package_for_debian_installs_enrolls_and_leaves_nothing
  a_package_that_cannot_enroll_is_installed_and_keeps_what_it_was_told
  a_key_that_others_could_read_is_not_used
  the_servers_package_keeps_its_data
  debians_lint_finds_nothing
  an_rpm_holds_the_same_as_the_package_for_debian
  the_same_source_makes_the_same_packages
  the_msi_hands_the_key_over_where_no_log_sees_it
  a_flipped_byte_breaks_a_signature
  a_signature_that_does_not_verify_is_no_artefact
  the_macos_tree_is_what_apples_tools_expect
  systemd_finds_nothing_wrong_with_the_units
  parts_bring_what_they_are_made_of
  a_program_that_names_this_machine_or_a_young_c_library_is_refused
  an_agent_that_would_not_take_its_updates_is_not_released
)

need_for_packages() {
  need_packages binutils dpkg fakeroot gcc-mingw-w64-x86-64 libxml2-utils lintian msitools openssl osslsigncode rpm systemd wixl
}

package_tests() {
  local test passed=0 failed=0
  PACKAGES=$RUN/packages
  mkdir -p "$PACKAGES"
  name_version
  # As a release is; with all of its debugging information it would take minutes to pack.
  strip -o "$PACKAGES/gururmm-agent" "$TARGET/debug/gururmm-agent"
  printf '#!/bin/sh\nexit 0\n' >"$PACKAGES/gururmm-server"
  for test in "${PACKAGE_TESTS[@]}"; do
    (set -x; "$test") >"$PACKAGES/$test.log" 2>&1 &
    if wait $!; then
      passed=$((passed + 1))
    else
      failed=$((failed + 1))
      say "FAILED $test"
      tail -n 20 "$PACKAGES/$test.log"
    fi
  done
  say "$passed passed, $failed failed"
  echo "$passed $failed" >>"$STEP.count"
  ((failed == 0))
}

# fails COMMAND…: in a shell of its own, so that it may end that
fails() {
  ! ("$@")
}

# agent_deb: one, made at the first call
agent_deb() {
  local file=$PACKAGES/gururmm-agent.deb
  [[ -f $file ]] || make_deb agent x86_64 "$PACKAGES/gururmm-agent" "$PACKAGE_VERSION" gzip "$file" >&2
  echo "$file"
}

# throwaway_root NAME: a folder that dpkg takes for a system
throwaway_root() {
  local root=$PACKAGES/root-$1
  mkdir -p "$root"/{etc,usr/local/lib,var/lib/dpkg/{info,updates,triggers}}
  touch "$root/var/lib/dpkg/status"
  echo "$root"
}

# dpkg_in ROOT ARGUMENT…: with scripts that run here and know of the root (DPKG_ROOT), so that it needs no programs of its own
dpkg_in() {
  local root=$1
  shift
  fakeroot dpkg --root="$root" --force-not-root,script-chrootless,depends --log=/dev/null "$@"
}

# files_below ROOT: all of them, but for dpkg's own
files_below() {
  (cd "$1" && find . -path ./var/lib/dpkg -prune -o -print | sort)
}

an_agents_package_for_debian_installs_enrolls_and_leaves_nothing() {
  local root site_key state
  root=$(throwaway_root enrolling)
  start_server
  site_key=$(json_field code "$PACKAGES/setup.json").$(json_field secret "$PACKAGES/setup.json")
  install -D -m 600 /dev/stdin "$root/etc/gururmm/enroll.conf" <<<"server=$SERVER_URL"$'\n'"sitekey=$site_key"
  dpkg_in "$root" --install "$(agent_deb)"
  state=$root/var/lib/gururmm-agent
  [[ -x $root/usr/local/lib/gururmm/gururmm-agent && -f $root/lib/systemd/system/gururmm-agent.service ]]
  [[ $(stat -c %a "$state/identity.json") == 600 ]]
  # The key has served, and does not stay.
  [[ ! -e $root/etc/gururmm/enroll.conf ]]
  fails grep --recursive --quiet --fixed-strings "$site_key" "$root"
  [[ -L $root/etc/systemd/system/multi-user.target.wants/gururmm-agent.service ]]

  # Another version: its program, and the same agent.
  local identity
  identity=$(sha256sum "$state/identity.json")
  echo old >"$root/usr/local/lib/gururmm/gururmm-agent"
  dpkg_in "$root" --install "$(agent_deb)"
  cmp "$PACKAGES/gururmm-agent" "$root/usr/local/lib/gururmm/gururmm-agent"
  [[ $(sha256sum "$state/identity.json") == "$identity" ]]

  # What the updater keeps beside the program goes with it, the identity stays until nothing shall stay.
  install -D -m 755 /bin/true "$root/usr/local/lib/gururmm/versions/9.9.9/gururmm-agent"
  cp "$AGENT_UNIT" "$root/etc/systemd/system"
  dpkg_in "$root" --remove gururmm-agent
  [[ ! -e $root/usr/local/lib/gururmm && -f $state/identity.json ]]
  dpkg_in "$root" --purge gururmm-agent
  fails grep -q gururmm <(files_below "$root")
  [[ ! $(find "$root" -path "$root/var/lib/dpkg" -prune -o -not -type d -print) ]]
  # The system's own folder, empty as it is, is not the package's to remove.
  [[ -d $root/usr/local/lib ]]
}

a_package_that_cannot_enroll_is_installed_and_keeps_what_it_was_told() {
  local root key
  root=$(throwaway_root unreachable)
  key=K7Q2M9XD.gek_1_$(printf 'a%.0s' {1..43})
  install -D -m 600 /dev/stdin "$root/etc/gururmm/enroll.conf" <<<"server=http://127.0.0.1:1"$'\n'"sitekey=$key"
  dpkg_in "$root" --install "$(agent_deb)" 2>&1 | tee "$PACKAGES/unreachable.out"
  grep -q 'this machine was not enrolled' "$PACKAGES/unreachable.out"
  fails grep -q gek_ "$PACKAGES/unreachable.out"
  grep -q 'Status: install ok installed' "$root/var/lib/dpkg/status"
  grep -q "$key" "$root/etc/gururmm/enroll.conf"
}

a_key_that_others_could_read_is_not_used() {
  local root
  root=$(throwaway_root readable)
  start_server
  install -D -m 644 /dev/stdin "$root/etc/gururmm/enroll.conf" \
    <<<"server=$SERVER_URL"$'\n'"sitekey=$(json_field code "$PACKAGES/setup.json").$(json_field secret "$PACKAGES/setup.json")"
  dpkg_in "$root" --install "$(agent_deb)" 2>&1 | tee "$PACKAGES/readable.out"
  grep -q "has to be root's alone" "$PACKAGES/readable.out"
  [[ ! -e $root/var/lib/gururmm-agent ]]
}

the_servers_package_keeps_its_data() {
  local root deb=$PACKAGES/gururmm-server.deb
  root=$(throwaway_root server)
  make_deb server x86_64 "$PACKAGES/gururmm-server" "$PACKAGE_VERSION" gzip "$deb"
  dpkg_in "$root" --install "$deb"
  [[ -x $root/usr/bin/gururmm-server && -f $root/etc/default/gururmm-server ]]
  install -D /dev/null "$root/var/lib/gururmm/keys/pepper-p1"
  dpkg_in "$root" --purge gururmm-server 2>&1 | grep "all data is still in"
  [[ -f $root/var/lib/gururmm/keys/pepper-p1 && ! -e $root/usr/bin/gururmm-server && ! -e $root/etc/default/gururmm-server ]]
}

debians_lint_finds_nothing() {
  lint_deb "$(agent_deb)"
  # And would find something.
  local folder=$PACKAGES/linted
  dpkg-deb --raw-extract "$(agent_deb)" "$folder"
  rm "$folder/usr/share/doc/gururmm-agent/copyright"
  dpkg-deb --root-owner-group -Zgzip --build "$folder" "$PACKAGES/linted.deb"
  fails lint_deb "$PACKAGES/linted.deb"
}

an_rpm_holds_the_same_as_the_package_for_debian() {
  local rpm=$PACKAGES/gururmm-agent.rpm expected found
  make_rpm x86_64 "$PACKAGES/gururmm-agent" "$PACKAGE_VERSION" w0.gzdio "$rpm"
  expected=$(dpkg-deb --contents "$(agent_deb)" | awk '$1 !~ /^d/ { print $1, $2, substr($6, 2) }' |
    grep -v 'changelog\|lintian' | sed -e 's|root/root|root root|' -e 's| /lib/systemd| /usr/lib/systemd|' | sort)
  found=$(rpm --query --package --list --verbose "$rpm" | awk '$1 !~ /^d/ { print $1, $3, $4, $9 }' | sort)
  diff <(echo "$expected") <(echo "$found")
  # The scripts are dpkg's; each section is a script by itself.
  rpm --query --package --scripts "$rpm" | grep -c 'scriptlet (using /bin/sh)' | grep -qx 3
  local section
  for section in POSTIN PREUN POSTUN; do
    rpm --query --package --queryformat "%{$section}" "$rpm" >"$PACKAGES/$section"
    shellcheck --shell=sh "$PACKAGES/$section"
  done
  grep -qx 'after_install' "$PACKAGES/POSTIN"
  # What an erased package leaves behind: nothing, but only where it does not make room for another version.
  local root=$PACKAGES/root-rpm
  mkdir -p "$root"/usr/local/lib/gururmm/versions "$root/var/lib/gururmm-agent" "$root/etc/gururmm"
  DPKG_ROOT=$root sh "$PACKAGES/POSTUN" 1
  [[ -d $root/usr/local/lib/gururmm && -d $root/var/lib/gururmm-agent ]]
  DPKG_ROOT=$root sh "$PACKAGES/POSTUN" 0
  [[ $(files_below "$root" | tr '\n' ' ') == '. ./etc ./usr ./usr/local ./usr/local/lib ./var ./var/lib ' ]]
}

the_same_source_makes_the_same_packages() {
  local again=$PACKAGES/again.deb
  sleep 1.1 # another second, in which nothing may differ
  make_deb agent x86_64 "$PACKAGES/gururmm-agent" "$PACKAGE_VERSION" gzip "$again"
  cmp "$(agent_deb)" "$again"
  make_rpm x86_64 "$PACKAGES/gururmm-server" "$PACKAGE_VERSION" w6.xzdio "$PACKAGES/first.rpm"
  sleep 1.1
  make_rpm x86_64 "$PACKAGES/gururmm-server" "$PACKAGE_VERSION" w6.xzdio "$PACKAGES/second.rpm"
  cmp "$PACKAGES/first.rpm" "$PACKAGES/second.rpm"
}

# a_windows_program: a real one, if a small one
a_windows_program() {
  local file=$PACKAGES/small.exe
  [[ -f $file ]] || echo 'int main(void) { return 0; }' | x86_64-w64-mingw32-gcc -xc -Os -s -o "$file" -
  echo "$file"
}

the_msi_hands_the_key_over_where_no_log_sees_it() {
  local msi=$PACKAGES/agent.msi tables=$PACKAGES/msi table
  make_msi "$(a_windows_program)" 1.2.3 "$msi"
  mkdir -p "$tables"
  for table in Property CustomAction InstallExecuteSequence ServiceInstall ServiceControl File Upgrade; do
    msiinfo export "$msi" "$table" | tr -d '\r' >"$tables/$table"
  done
  grep -q $'^ProductVersion\t1.2.3$' "$tables/Property"
  grep -q $'^SecureCustomProperties\tNEWER;OLDER;SERVER;SITEKEY$' "$tables/Property"
  grep -q $'^MsiHiddenProperties\tSITEKEY;HandOver;CustomActionData$' "$tables/Property"
  # From a library in the MSI (1), deferred (1024), as LocalSystem (2048), what it is told hidden (8192).
  grep -q $'^HandOver\t11265\tHandOverLibrary\tHandOver' "$tables/CustomAction"
  # The key stands in no program's arguments.
  [[ $(grep -c SITEKEY "$tables/CustomAction") == 1 ]]
  grep SITEKEY "$tables/CustomAction" | grep -q $'^TellHandOver\t2099\tHandOver\t'
  grep -q $'\tGuruRMM\tGuruRMM agent\t.*\tservice\t' "$tables/ServiceInstall"
  grep -q $'\tGuruRMM\t162\t' "$tables/ServiceControl"
  # One version makes room before the next one comes, and what then cleans up knows that it is not the end.
  sequence() { grep "^$1"$'\t' "$tables/InstallExecuteSequence" | cut -f 3; }
  [[ $(sequence InstallInitialize) == 1500 && $(sequence RemoveExistingProducts) == 1501 ]]
  local action before=0
  for action in InstallInitialize RemoveExistingProducts StopServices DeleteServices CleanUp RemoveFiles InstallFiles InstallServices \
    TellHandOver UndoHandOver HandOver InstallFinalize; do
    (($(sequence "$action") > before))
    before=$(sequence "$action")
  done
  grep $'^CleanUp\t' "$tables/InstallExecuteSequence" | grep -q 'NOT UPGRADINGPRODUCTCODE'
  # Another program in it is another product, the same one the same.
  [[ $(uuid_of a) == "$(uuid_of a)" && $(uuid_of a) != "$(uuid_of b)" && $(uuid_of a) =~ ^[0-9A-F-]{36}$ ]]
}

# make_test_ca: an authority that signs code, for this test alone
make_test_ca() {
  local ca=$PACKAGES/ca
  [[ ! -d $ca ]] || return 0
  mkdir -p "$ca"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=Acme test CA' \
    -keyout "$ca/ca.key" -out "$ca/ca.pem"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=Acme test signer' -keyout "$ca/signer.key" -out "$ca/signer.csr"
  openssl x509 -req -in "$ca/signer.csr" -CA "$ca/ca.pem" -CAkey "$ca/ca.key" -days 2 -out "$ca/signer.pem" \
    -extfile <(printf 'keyUsage=digitalSignature\nextendedKeyUsage=codeSigning\n')
}

use_test_signer() {
  make_test_ca
  export GURURMM_SIGN_WINDOWS="osslsigncode sign -certs $PACKAGES/ca/signer.pem -key $PACKAGES/ca/signer.key -h sha256 -in {in} -out {out}"
  export GURURMM_VERIFY_WINDOWS="osslsigncode verify -CAfile $PACKAGES/ca/ca.pem -in {in}"
  check_signers
}

# flip FILE OFFSET: one bit of it
flip() {
  local byte
  byte=$(od --address-radix=n --format=u1 --skip-bytes="$2" --read-bytes=1 "$1")
  # shellcheck disable=SC2059 # the format is the byte
  printf "\\x$(printf %02x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

a_flipped_byte_breaks_a_signature() {
  use_test_signer
  local signed=$PACKAGES/signed.exe msi=$PACKAGES/signed.msi broken=$PACKAGES/broken at
  sign_into windows "$(a_windows_program)" "$signed"
  [[ $SIGNED == yes ]]
  # The library inside is signed, too.
  make_msi "$signed" 1.2.3 "$PACKAGES/unsigned.msi"
  sign_into windows "$PACKAGES/unsigned.msi" "$msi"
  msiextract --directory "$PACKAGES/extracted" "$msi"
  cmp "$signed" "$PACKAGES/extracted/GuruRMM/gururmm-agent.exe"
  cp "$signed" "$broken"
  flip "$broken" 600
  fails run_template "$(signer verify windows)" "$broken" ''
  # A byte in the middle of the program that is in it.
  at=$(grep --only-matching --byte-offset --text MSCF "$msi" | head -n 1 | cut -d : -f 1)
  cp "$msi" "$broken"
  flip "$broken" $((at + 200))
  fails run_template "$(signer verify windows)" "$broken" ''
  run_template "$(signer verify windows)" "$msi" ''
}

a_signature_that_does_not_verify_is_no_artefact() {
  local out=$PACKAGES/unverified.exe
  export GURURMM_SIGN_WINDOWS='cp {in} {out}' GURURMM_VERIFY_WINDOWS=
  fails check_signers
  make_test_ca
  GURURMM_VERIFY_WINDOWS="osslsigncode verify -CAfile $PACKAGES/ca/ca.pem -in {in}"
  check_signers
  fails sign_into windows "$(a_windows_program)" "$out"
  GURURMM_SIGN_WINDOWS='sign-me {in}'
  fails check_signers
  # A name of a file is never a part of the command.
  local odd
  odd=$(a_windows_program)
  cd "$PACKAGES"
  cp "$odd" "a & b; false \$(touch pwned) '.exe"
  GURURMM_SIGN_WINDOWS='cp {in} {out}' GURURMM_VERIFY_WINDOWS='test -s {in}'
  sign_into windows "a & b; false \$(touch pwned) '.exe" "signed & ' \$(touch pwned)"
  cmp "$odd" "signed & ' \$(touch pwned)"
  [[ ! -e pwned ]]
}

the_macos_tree_is_what_apples_tools_expect() {
  local tree=$PACKAGES/macos
  pkg_tree aarch64 "$PACKAGES/gururmm-agent" 1.2.3 "$tree"
  xmllint --noout --nonet "$tree/Distribution.xml" "$tree/root/Library/LaunchDaemons/com.gururmm.agent.plist"
  xmllint --xpath '//pkg-ref[@version="1.2.3"]' "$tree/Distribution.xml"
  grep -q 'hostArchitectures="arm64"' "$tree/Distribution.xml"
  shellcheck "$tree/build-pkg.sh" "$tree"/scripts/*
  fails /usr/bin/python3 tools/dist/macos/check.py "$PACKAGES/gururmm-agent" x86_64 "$MACOS_FLOOR"
  # What launchd starts is what the tree holds.
  [[ -x $tree/root$(xmllint --xpath 'string(//array/string[1])' "$tree/root/Library/LaunchDaemons/com.gururmm.agent.plist") ]]
}

systemd_finds_nothing_wrong_with_the_units() {
  local folder=$PACKAGES/units
  mkdir -p "$folder"
  # The programs they name are not installed here; any program shows the rest.
  sed 's|/usr/local/lib/gururmm/gururmm-agent|/bin/true|' "$AGENT_UNIT" >"$folder/gururmm-agent.service"
  sed 's|/usr/bin/gururmm-server|/bin/true|' tools/dist/linux/gururmm-server.service >"$folder/gururmm-server.service"
  systemd-analyze verify "$folder"/*.service 2>&1 | tee "$folder/verify.out"
  [[ ! -s $folder/verify.out ]]
  # The server starts nothing but PostgreSQL. 10 is open; what is left of it here are ports, sockets and its data folder.
  systemd-analyze security --no-pager --offline=yes --threshold=20 "$folder/gururmm-server.service"
  # The agent does an administrator's work with root's rights: its unit says why each door is open. None opens by accident.
  systemd-analyze security --no-pager --offline=yes --threshold=95 "$folder/gururmm-agent.service"
  sed '/^LockPersonality=/d; /^RestrictRealtime=/d; /^KeyringMode=/d' "$folder/gururmm-agent.service" >"$folder/open.service"
  fails systemd-analyze security --no-pager --offline=yes --threshold=95 "$folder/open.service"
}

parts_bring_what_they_are_made_of() {
  [[ $(wanted_targets msi | tr '\n' ' ') == 'agent-windows-x86_64 msi-agent-x86_64 ' ]]
  [[ $(wanted_targets deb-server,rpm-agent-aarch64 | tr '\n' ' ') == \
    'agent-linux-aarch64 server-linux-x86_64 rpm-agent-aarch64 deb-server-x86_64 ' ]]
  [[ $(wanted_targets '' | wc -l) == "${#DIST_TARGETS[@]}" ]]
  fails wanted_targets amiga
}

a_program_that_names_this_machine_or_a_young_c_library_is_refused() {
  local program=$PACKAGES/young
  check_names_no_place /bin/true
  fails check_names_no_place "$TARGET/debug/gururmm-agent"
  # What this machine's compiler makes needs this machine's C library; pretended to be too old for it.
  echo 'int main(void) { return 0; }' | cc -xc -o "$program" -
  (GLIBC_FLOOR=99 && check_glibc "$program")
  GLIBC_FLOOR=2.0 fails check_glibc "$program"
  check_windows_program "$(a_windows_program)"
  echo 'int main(void) { return 0; }' | x86_64-w64-mingw32-gcc -xc -Os -s -mwindows -o "$program.exe" -
  fails check_windows_program "$program.exe"
}

an_agent_that_would_not_take_its_updates_is_not_released() {
  local agent
  DIST=$PACKAGES/published
  agent=$DIST/gururmm-agent-linux-$(uname -m)
  mkdir -p "$DIST"
  # shellcheck disable=SC2016 # the agent's arguments
  echo '[ "$1 $2" = "check-updates '"$DIST"'/updates" ]' | cat <(echo '#!/bin/sh') - >"$agent"
  chmod +x "$agent"
  check_updates
  printf '#!/bin/sh\nexit 1\n' >"$agent"
  fails check_updates
}

# start_server: one that is set up, for the test that calls it; leaves SERVER_URL, and its answer in setup.json
start_server() {
  local folder=$PACKAGES/server-$BASHPID port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  SERVER_URL=http://127.0.0.1:$port
  mkdir -p "$folder"
  setpriv --pdeathsig TERM "$TARGET/debug/gururmm-server" serve --data-dir "$folder/data" --listen "127.0.0.1:$port" \
    >"$folder/server.out" 2>"$folder/server.log" &
  trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
  wait_for_line '#token=' "$folder/server.out" || die "The server does not start: $(tail -n 1 "$folder/server.log")"
  (umask 077 && post "$SERVER_URL/api/v1/setup" '{"setup_token": "'"$(sed -n 's/.*#token=//p' "$folder/server.out")"'",
    "email": "owner@example.com", "name": "Olive Owner", "password": "correct horse battery staple",
    "partner_name": "Acme IT", "client_name": "Acme Bakery", "site_name": "Main street"}' >"$PACKAGES/setup.json")
}
