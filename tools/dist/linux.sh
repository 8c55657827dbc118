# shellcheck shell=bash
# Packages for Linux, with the systems' own tools: what dpkg-deb and rpmbuild make is by definition right, and neither has to
# be fetched or trusted anew. Sourced by tools/dist.sh.

# build_deb agent|server ARCH
build_deb() {
  local what=$1 arch=$2 name
  name=gururmm-${what}_${PACKAGE_VERSION}_$(debian_arch "$arch").deb
  make_deb "$what" "$arch" "$DIST/gururmm-$what-linux-$arch" "$PACKAGE_VERSION" xz "$DIST_LOGS/$name"
  lint_deb "$DIST_LOGS/$name"
  sign_into deb "$DIST_LOGS/$name" "$DIST/$name"
  built "deb-$what-$arch" "$name" deb linux "$arch" "$SIGNED" no 'built around the program that was run'
}

# build_rpm ARCH
build_rpm() {
  local arch=$1 name=gururmm-agent-$PACKAGE_VERSION-1.$1.rpm
  make_rpm "$arch" "$DIST/gururmm-agent-linux-$arch" "$PACKAGE_VERSION" w6.xzdio "$DIST_LOGS/$name"
  sign_into rpm "$DIST_LOGS/$name" "$DIST/$name"
  built "rpm-agent-$arch" "$name" rpm linux "$arch" "$SIGNED" no 'built around the program that was run'
}

debian_arch() {
  case $1 in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
  esac
}

# The service's unit is the one that the agent carries in itself.
AGENT_UNIT=crates/agent/src/install/gururmm-agent.service

# make_deb agent|server ARCH PROGRAM VERSION COMPRESSION TARGET
make_deb() {
  local what=$1 arch=$2 program=$3 version=$4 compression=$5 target=$6 tree name=gururmm-$1
  tree=$(mktemp --directory)
  chmod 755 "$tree"
  tree_of "$what" "$program" "$tree" lib/systemd/system
  local documents=$tree/usr/share/doc/$name overrides=$tree/usr/share/lintian/overrides
  debian_changelog "$name" "$version" | gzip --best --no-name >"$documents/changelog.gz"
  mkdir -p "$overrides" "$tree/DEBIAN"
  cp "tools/dist/linux/$what.lintian" "$overrides/$name"
  debian_control "$what" "$arch" "$version" "$(du --apparent-size --summarize --block-size=1K "$tree" | cut -f 1)" \
    >"$tree/DEBIAN/control"
  # shellcheck disable=SC2016 # the package's arguments, not this script's
  debian_script "$what" '[ "$1" != configure ] || after_install' >"$tree/DEBIAN/postinst"
  # shellcheck disable=SC2016
  debian_script "$what" '[ "$1" != remove ] || before_remove' >"$tree/DEBIAN/prerm"
  # shellcheck disable=SC2016
  debian_script "$what" 'case "$1" in remove) after_remove ;; purge) after_purge ;; esac' >"$tree/DEBIAN/postrm"
  [[ $what != server ]] || echo /etc/default/gururmm-server >"$tree/DEBIAN/conffiles"
  (cd "$tree" && find usr lib -type f -print0 | sort --zero-terminated | xargs --null md5sum >DEBIAN/md5sums)
  chmod -R u=rwX,go=rX "$tree"
  chmod 755 "$tree"/DEBIAN/{postinst,prerm,postrm}
  dpkg-deb --root-owner-group "-Z$compression" --build "$tree" "$target"
  rm -r "$tree"
}

# make_rpm ARCH PROGRAM VERSION PAYLOAD TARGET
make_rpm() {
  local arch=$1 program=$2 version=$3 payload=$4 target=$5 folder
  folder=$(mktemp --directory)
  tree_of agent "$program" "$folder/tree" usr/lib/systemd/system
  {
    cat tools/dist/linux/agent.spec
    # 0 remain: it goes; 1: another version has taken its place.
    rpm_script post after_install
    # shellcheck disable=SC2016
    rpm_script preun '[ "$1" -gt 0 ] || before_remove'
    # shellcheck disable=SC2016
    rpm_script postun '[ "$1" -gt 0 ] || { after_remove; after_purge; }'
  } >"$folder/agent.spec"
  rpmbuild --quiet -bb --target "$arch-linux" --buildroot "$folder/root" --define "_topdir $folder" \
    --define "gururmm_version $version" --define "gururmm_payload $payload" \
    --define "gururmm_tree $folder/tree" "$folder/agent.spec"
  mv "$folder/RPMS/$arch/"*.rpm "$target"
  rm -r "$folder"
}

# tree_of agent|server PROGRAM FOLDER UNITS: the files of a package
tree_of() {
  local what=$1 program=$2 tree=$3 units=$3/$4 documents=$3/usr/share/doc/gururmm-$1
  mkdir -p "$units" "$documents"
  case $what in
    agent)
      install -D -m 755 "$program" "$tree/usr/lib/gururmm/gururmm-agent"
      cp "$AGENT_UNIT" "$units"
      ;;
    server)
      install -D -m 755 "$program" "$tree/usr/bin/gururmm-server"
      install -D -m 644 tools/dist/linux/gururmm-server.default "$tree/etc/default/gururmm-server"
      cp tools/dist/linux/gururmm-server.service "$units"
      ;;
  esac
  cp tools/dist/linux/copyright "$documents"
}

# debian_script agent|server COMMANDS
debian_script() {
  cat "tools/dist/linux/$1.sh"
  printf '\n%s\n' "$2"
}

# rpm_script SECTION COMMANDS: a percent sign would be a macro
rpm_script() {
  printf '\n%%%s\n' "$1"
  sed -e 1d -e 's/%/%%/g' tools/dist/linux/agent.sh
  printf '%s\n' "$2"
}

# debian_control agent|server ARCH VERSION KILOBYTES
debian_control() {
  local what=$1
  cat <<CONTROL
Package: gururmm-$what
Version: $3
Architecture: $(debian_arch "$2")
Maintainer: GuruRMM <packages@gururmm.invalid>
Installed-Size: $4
Section: admin
Priority: optional
Homepage: https://github.com/gururmm/gururmm
CONTROL
  case $what in
    agent)
      cat <<'CONTROL'
Depends: libc6 (>= 2.17)
Recommends: ca-certificates
Description: manages this machine for a GuruRMM server
 GuruRMM's agent reports how this machine is, and does what the people who
 are in charge of it order, for the server it is enrolled with. It listens
 on no port.
CONTROL
      ;;
    server)
      cat <<'CONTROL'
Depends: libc6 (>= 2.17), passwd
Recommends: ca-certificates, postgresql (>= 15)
Description: remote monitoring and management for service providers
 GuruRMM's server watches, controls and repairs many customers' computers
 from one place: API, dashboard and the agents' gateway in one program, with
 a private PostgreSQL in its data folder or one of your own.
CONTROL
      ;;
  esac
}

# debian_changelog PACKAGE VERSION: what Debian's tools want to read; for people there is CHANGELOG.md
debian_changelog() {
  cat <<CHANGELOG
$1 ($2) unstable; urgency=medium

  * See https://github.com/gururmm/gururmm/blob/main/CHANGELOG.md

 -- GuruRMM <packages@gururmm.invalid>  $(LC_ALL=C date --utc --rfc-email --date "@$SOURCE_DATE_EPOCH")
CHANGELOG
}

lint_deb() {
  lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$1"
}
