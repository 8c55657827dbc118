#!/bin/sh
# What the agent's packages do on a machine, for dpkg and rpm alike: they are built with this as all of their maintainer
# scripts. DPKG_ROOT is dpkg's folder of a system that is not the one that runs.
set -e

root=${DPKG_ROOT:-}
packaged=$root/usr/lib/gururmm/gururmm-agent
program=$root/usr/local/lib/gururmm/gururmm-agent
state=$root/var/lib/gururmm-agent
enrollment=$root/etc/gururmm/enroll.conf
unit=gururmm-agent.service

runs_systemd() {
  [ -z "$root" ] && [ -d /run/systemd/system ]
}

# Debian's own way of asking, where it is there, keeps to what the machine's administrator allows packages to start.
ask_systemd() {
  if command -v deb-systemd-invoke >/dev/null; then deb-systemd-invoke "$@"; else systemctl --quiet "$@"; fi
}

# A machine that is enrolled has its agent running; another one waits until it is.
after_install() {
  # The install script's unit would hide the package's; both name the same program.
  rm -f "$root/etc/systemd/system/$unit"
  place_program
  enroll
  if command -v systemctl >/dev/null; then
    systemctl ${root:+--root="$root"} --quiet enable "$unit" || true
  fi
  if runs_systemd; then
    systemctl daemon-reload || true
    if [ -e "$state/identity.json" ]; then ask_systemd restart "$unit" || true; fi
  fi
}

# The program has one place on every Linux, whichever way it came, and the updater changes what is there: so it is neither the
# package's file nor, since it is below /usr/local, in a folder of the package's. What runs is not written to, but replaced.
place_program() {
  mkdir -p "${program%/*}"
  cp "$packaged" "$program.new"
  chmod 755 "$program.new"
  mv -f "$program.new" "$program"
}

# With what whoever prepared the machine has left: lines server=… and sitekey=…. The site's key is good for this one time and
# does not stay. That it fails is said, and leaves the file for another try; it is no reason to leave a package half done,
# which would be in the way of every later installation on that machine.
enroll() {
  [ -e "$enrollment" ] || return 0
  if [ -L "$enrollment" ] || [ "$(stat -c '%u %a' "$enrollment")" != '0 600' ]; then
    echo "gururmm-agent: $enrollment holds a key, so it has to be root's alone (0600); this machine was not enrolled" >&2
    return 0
  fi
  if "$program" enroll-from-package --state-dir "$state" <"$enrollment"; then
    rm -f "$enrollment"
  else
    echo "gururmm-agent: this machine was not enrolled; try again with: dpkg-reconfigure gururmm-agent, or rpm's reinstall" >&2
  fi
}

before_remove() {
  if runs_systemd; then
    ask_systemd stop "$unit" || true
  fi
  if command -v systemctl >/dev/null; then
    systemctl ${root:+--root="$root"} --quiet disable "$unit" || true
  fi
}

# Nothing of the agent stays but what makes the machine the agent that it is: installed again, it comes back as that.
after_remove() {
  # As `gururmm-agent install` writes it, which enrolls machines with a package, too.
  rm -f "$root/etc/systemd/system/$unit"
  rm -rf "$root/usr/local/lib/gururmm"
  if runs_systemd; then systemctl daemon-reload || true; fi
}

# No trace stays.
after_purge() {
  rm -rf "$state" "$root/etc/gururmm"
}
