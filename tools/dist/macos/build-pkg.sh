#!/bin/sh
# Makes the installer of this tree, on a Mac:
#
#   ./build-pkg.sh TARGET.pkg [IDENTITY]
#
# IDENTITY is a "Developer ID Installer" certificate of the keychain; without it the package is not signed. Signing the program
# itself (codesign, "Developer ID Application") comes before, notarisation (xcrun notarytool) after.
set -eu

[ $# -ge 1 ] || { echo "usage: $0 TARGET.pkg [IDENTITY]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pkgbuild --root "$here/root" --scripts "$here/scripts" --identifier com.gururmm.agent --version "$(cat "$here/version")" \
  --install-location / --ownership recommended "$work/agent.pkg"
if [ $# -ge 2 ]; then
  productbuild --distribution "$here/Distribution.xml" --package-path "$work" --sign "$2" "$1"
else
  productbuild --distribution "$here/Distribution.xml" --package-path "$work" "$1"
fi
