# shellcheck shell=bash
# Bills of materials in CycloneDX's format: what is in the server, in the agent and in the dashboard. Sourced by tools/dist.sh.

build_sbom() {
  local package
  need_cargo_tool cargo-cyclonedx 0.5.9
  for package in agent server; do
    cargo cyclonedx --quiet --format json --spec-version 1.5 --target all --manifest-path "crates/$package/Cargo.toml" \
      --override-filename "gururmm-$package.cdx"
    # It names crates of the workspace by where they lie.
    sed "s|file://$PWD/|file:///gururmm/|g" "crates/$package/gururmm-$package.cdx.json" >"$DIST/gururmm-$package.cdx.json"
    # It writes one for every crate of the workspace.
    rm crates/*/"gururmm-$package.cdx.json"
  done
  dashboard_sbom >"$DIST/gururmm-dashboard.cdx.json"
  for package in agent server dashboard; do
    check_sbom "$DIST/gururmm-$package.cdx.json"
    built sbom "gururmm-$package.cdx.json" sbom '' '' no no ''
  done
}

# npm names nothing that has no version, and the dashboard has the server's.
dashboard_sbom() {
  local folder above
  above=$(mktemp --directory)
  folder=$above/gururmm-dashboard
  mkdir "$folder"
  # shellcheck disable=SC2016 # JavaScript's own signs
  node -e 'const fs = require("fs");
    const [version, folder] = process.argv.slice(1);
    for (const name of ["package.json", "package-lock.json"]) {
      const json = JSON.parse(fs.readFileSync(`dashboard/${name}`, "utf8"));
      json.version = version;
      if (json.packages) json.packages[""].version = version;
      fs.writeFileSync(`${folder}/${name}`, JSON.stringify(json));
    }' "$VERSION" "$folder"
  # The same source makes the same bill: npm would put in when, and a number of its own.
  npm --prefix "$folder" sbom --sbom-format cyclonedx --package-lock-only --omit dev |
    node -e 'const bom = JSON.parse(require("fs").readFileSync(0, "utf8"));
      delete bom.serialNumber;
      bom.metadata.timestamp = new Date(process.env.SOURCE_DATE_EPOCH * 1000).toISOString();
      console.log(JSON.stringify(bom, null, 2));'
  rm -r "$above"
}

# check_sbom FILE: it is one, with contents, and names no folder of this machine
check_sbom() {
  node -e 'const bom = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
    if (bom.bomFormat !== "CycloneDX" || !(bom.components.length > 10)) throw new Error("not a bill of materials");' "$1"
  check_names_no_place "$1"
}
