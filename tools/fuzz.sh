# shellcheck shell=bash
# Coverage-guided fuzzing of everything that decodes what comes over a wire. Sourced by ./dev.

FUZZED=crates/protocol

fuzz_help() {
  cat <<'HELP'
Usage: ./dev fuzz [--seconds N] [TARGET]

Fuzzes every decoder of the agents' protocol (or the one named) for N seconds each, 60 by default, starting from the
committed corpus. New inputs stay in target/fuzz; an input that makes a decoder fail is named at the end. The ordinary
tests replay the committed corpus in every run.
HELP
}

fuzz() {
  local seconds=60 targets=()
  while (($#)); do
    case $1 in
      --seconds)
        [[ ${2-} =~ ^[1-9][0-9]*$ ]] || die "--seconds needs a whole number."
        seconds=$2 && shift 2
        ;;
      --help | -h) fuzz_help && return ;;
      -*) die "./dev fuzz does not know $1; see ./dev fuzz --help." ;;
      *)
        [[ -f $FUZZED/fuzz/fuzz_targets/$1.rs ]] || die "There is no decoder $1; there are: $(fuzz_targets)."
        targets+=("$1") && shift
        ;;
    esac
  done
  need_packages build-essential
  need_rust
  need_cargo_tool cargo-fuzz 0.13.2
  ((${#targets[@]})) || read -r -a targets <<<"$(fuzz_targets)"
  local target
  for target in "${targets[@]}"; do
    fuzz_one "$target" "$seconds" || die "$target fails on an input; it is kept in $TARGET/fuzz/artifacts/$target."
  done
}

fuzz_targets() {
  find "$FUZZED/fuzz/fuzz_targets" -name '*.rs' -printf '%f\n' | sed 's/\.rs$//' | sort | tr '\n' ' ' | sed 's/ $//'
}

# fuzz_one TARGET SECONDS
fuzz_one() {
  local target=$1 found=$TARGET/fuzz/corpus/$1 artifacts=$TARGET/fuzz/artifacts/$1
  mkdir -p "$found" "$artifacts"
  say "Fuzzing $target for $2 s"
  # RUSTC_BOOTSTRAP lets the stable compiler use the sanitizers, which it has and does not offer; it stays in here, as
  # it would change the ordinary build's fingerprints.
  # New inputs go to the first folder; the committed corpus is only read.
  (cd "$FUZZED" && RUSTC_BOOTSTRAP=1 cargo fuzz run --target-dir "$TARGET/fuzz/build" "$target" "$found" "fuzz/corpus/$target" \
    -- -max_total_time="$2" -timeout=10 -rss_limit_mb=512 -max_len=262144 -artifact_prefix="$artifacts/" -print_final_stats=1)
}
