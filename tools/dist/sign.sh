# shellcheck shell=bash
# Signing: whoever releases says by which command, so that a key in a file, in a token or at a service all fit. Sourced by
# tools/dist.sh.

# signer sign|verify SYSTEM: the command for it, if any
signer() {
  local name=GURURMM_${1^^}_${2^^}
  printf '%s' "${!name-}"
}

# A signature that nobody looks at proves nothing, so what signs comes with what verifies.
check_signers() {
  local system
  for system in windows macos deb rpm; do
    [[ ! $(signer sign "$system") ]] || [[ $(signer verify "$system") ]] ||
      die "--sign-$system needs --verify-$system: a command that fails on a file that is not signed as it should be."
    [[ ! $(signer sign "$system") || $(signer sign "$system") == *'{in}'*'{out}'* || $(signer sign "$system") == *'{out}'*'{in}'* ]] ||
      die "--sign-$system needs {in} and {out} in its command."
  done
}

# sign_into SYSTEM FILE TARGET: signs, and verifies what came out; a copy where there is no signer. Says which in SIGNED.
sign_into() {
  local system=$1 file=$2 target=$3
  SIGNED=no
  rm -f "$target"
  if [[ ! $(signer sign "$system") ]]; then
    cp "$file" "$target"
    return
  fi
  run_template "$(signer sign "$system")" "$file" "$target" || die "${target##*/} could not be signed."
  [[ -s $target ]] || die "The signer made no ${target##*/}."
  run_template "$(signer verify "$system")" "$target" '' || die "${target##*/} was signed, and does not verify."
  SIGNED=yes
}

# run_template COMMAND IN OUT: the command with the files' names in it
run_template() {
  local command=$1 in out
  in=$(printf '%q' "$2")
  out=$(printf '%q' "$3")
  # Quoted, or bash would read an ampersand in a name as what was found.
  command=${command//'{in}'/"$in"}
  bash -c "${command//'{out}'/"$out"}"
}
