#!/bin/sh
# What the server's package does on a machine; it is built with this as all of its maintainer scripts.
set -e

root=${DPKG_ROOT:-}
unit=gururmm-server.service

runs_systemd() {
  [ -z "$root" ] && [ -d /run/systemd/system ]
}

after_install() {
  if [ -z "$root" ] && ! getent passwd gururmm >/dev/null; then
    useradd --system --user-group --home-dir /var/lib/gururmm --no-create-home --shell /usr/sbin/nologin gururmm
  fi
  if command -v systemctl >/dev/null; then
    systemctl ${root:+--root="$root"} --quiet enable "$unit" || true
  fi
  if runs_systemd; then
    systemctl daemon-reload || true
    deb-systemd-invoke restart "$unit" || true
  fi
}

before_remove() {
  if runs_systemd; then
    deb-systemd-invoke stop "$unit" || true
  fi
  if command -v systemctl >/dev/null; then
    systemctl ${root:+--root="$root"} --quiet disable "$unit" || true
  fi
}

after_remove() {
  if runs_systemd; then systemctl daemon-reload || true; fi
}

# The database of a whole business does not go with a package: whoever means it removes the folder.
after_purge() {
  if [ -d "$root/var/lib/gururmm" ]; then
    echo "gururmm-server: all data is still in $root/var/lib/gururmm; remove it by hand if it is not needed any more" >&2
  fi
}
