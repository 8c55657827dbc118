# shellcheck shell=bash
# The package for macOS, as far as it can be made without a Mac. Sourced by tools/dist.sh.

# build_pkg ARCH: the tree that Apple's tools make a .pkg of. They, and xar and mkbom that could stand in for them, are not to
# be had on Debian.
build_pkg() {
  local arch=$1 name=gururmm-agent-$VERSION-macos-$1.tar.gz tree=$DIST_LOGS/pkg-$1/gururmm-agent-$VERSION
  rm -rf "${tree%/*}"
  pkg_tree "$arch" "$DIST/gururmm-agent-macos-$arch" "$VERSION" "$tree"
  tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --directory "${tree%/*}" \
    "${tree##*/}" | gzip --best --no-name >"$DIST/$name"
  built "pkg-agent-$arch" "$name" pkg-tree macos "$arch" no no \
    'the tree of a package, not run: build-pkg.sh in it makes the .pkg on a Mac'
}

# The daemon's description is the one that the agent carries in itself.
# pkg_tree ARCH PROGRAM VERSION FOLDER
pkg_tree() {
  local arch=$1 program=$2 version=$3 tree=$4
  install -D -m 755 "$program" "$tree/root/Library/Application Support/GuruRMM/bin/gururmm-agent"
  install -D -m 644 crates/agent/src/install/com.gururmm.agent.plist "$tree/root/Library/LaunchDaemons/com.gururmm.agent.plist"
  install -D -m 755 --target-directory "$tree/scripts" tools/dist/macos/scripts/*
  install -m 755 tools/dist/macos/build-pkg.sh "$tree"
  sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/${arch/aarch64/arm64}/" tools/dist/macos/Distribution.xml \
    >"$tree/Distribution.xml"
  echo "$version" >"$tree/version"
}
