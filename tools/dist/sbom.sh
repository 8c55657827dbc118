# shellcheck shell=bash
# Bills of materials in CycloneDX's format: what is in the server, in the agent and in the dashboard. Sourced by tools/dist.sh.

build_sbom() {
  local package file
  need_cargo_tool cargo-cyclonedx 0.5.9
  for package in agent server; do
    # It writes beside the manifests, of the whole workspace.
    file=crates/$package/gururmm-$package.cdx.json
    cargo cyclonedx --quiet --format json --spec-version 1.5 --target all --manifest-path "crates/$package/Cargo.toml" \
      --override-filename "gururmm-$package.cdx"
    mv "$file" "$DIST/gururmm-$package.cdx.json"
  done
  npm --prefix dashboard sbom --sbom-format cyclonedx --omit dev >"$DIST/gururmm-dashboard.cdx.json"
  for package in agent server dashboard; do
    check_sbom "$DIST/gururmm-$package.cdx.json"
    built sbom "gururmm-$package.cdx.json" sbom '' '' no no ''
  done
}

# check_sbom FILE: it is one, with contents, and names no folder of this machine
check_sbom() {
  node -e 'const bom = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
    if (bom.bomFormat !== "CycloneDX" || !(bom.components.length > 10)) throw new Error("not a bill of materials");' "$1"
  check_names_no_place "$1"
}
