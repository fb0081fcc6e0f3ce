# shellcheck shell=bash disable=SC2034,SC2154 # what the scripts use, and set
# cli.sh - what the tests of the command lines share; to be sourced, first, by bash.
#
#     . "$(dirname "$0")/cli.sh"
#     [ $# = 2 ] || usage "TOOL WORK_DIR"
#     tool=$(absolute "$1")
#     need_programs "$tool"
#     begin "$2/tool"                  # an empty folder of our own; we are there, it is $work
#     run() { timeout 20 "$tool" "$@" > out 2> err < /dev/null; code=$?; }
#     run --version
#     check "--version" 'code 0' 'silent' 'lines 1'
#     finish                           # removes the folder, and exits
#
# One line for each check: "PASS name", "FAIL name: why" or "SKIP name: what is missing". The last
# line is "N passed, N failed, N skipped"; exit status 1 when any failed, or nothing was tested.

set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd) && root=$(cd "$here/.." && pwd) || exit 2
passed=0 failed=0 skipped=0

pass() { echo "PASS $1"; passed=$((passed + 1)); }
fail() { echo "FAIL $1: $2"; failed=$((failed + 1)); }
skip() { echo "SKIP $1: $2"; skipped=$((skipped + 1)); }
have() { command -v "$1" > /dev/null 2>&1; }
# The pyenv shims take longer to start than Python does.
python=$(python3 -c 'import sys; print(sys.executable)' 2> /dev/null) || python=

# ------------------------------------------------------------------------------- begin and end

usage() { echo "usage: $(basename "$0") $1" >&2; exit 2; }
absolute() { echo "$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"; }
need_programs() {
    local program
    for program in "$@"; do
        [ -x "$program" ] || { echo "$program: not a program" >&2; exit 2; }
    done
}
begin() {
    mkdir -p "$(dirname "$1")" && work=$(absolute "$1") && rm -rf "$work" && mkdir -p "$work" &&
        cd "$work" || exit 2
}
finish() {
    cd / && rm -rf "$work"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed = 0 ] && [ $((passed + skipped)) != 0 ]
    exit
}
# Sanitizers are slow, and reserve and use memory of their own: there its bounds say nothing.
is_sanitized() { grep -q -a -e __asan_init -e __tsan_init "$1"; }

# ------------------------------------------------------------------------------- checks

# check NAME CONDITION...: each condition is a command; the first that fails is the reason.
check() {
    local name=$1 condition
    shift
    for condition in "$@"; do
        eval "$condition" || {
            fail "$name" "not so: $condition; exit $code; $(head -c 300 err | tr '\n' ' ')"
            return
        }
    done
    pass "$name"
}
# Of a loop: `bad` lists what went wrong in it.
check_all() { check "$1" '[ -z "$bad" ] || { echo "$bad" > err; false; }'; }

# Conditions, of a run that left its exit status in $code, its outputs in the files out and err.
code() { [ $code = "$1" ]; }
either() { [ $code = "$1" ] || [ $code = "$2" ]; }
says() { grep -q -F -e "$1" out; }
says_not() { ! grep -q -F -e "$1" out; }
prints_nothing() { [ ! -s out ]; }
lines() { [ "$(wc -l < out)" = "$1" ]; }
status() { says "\"status\":\"$1\""; }
# shellcheck disable=SC2120 # sometimes in a condition
json() { [ -z "$python" ] || "$python" -m json.tool < "${1:-out}" > pretty; }
complains() { grep -q -F -e "$1" err; }
begins() { [ "$(head -c ${#1} err)" = "$1" ]; }
silent() { [ ! -s err ]; }
absent() { [ ! -e "$1" ]; }
same() { cmp -s "$1" "$2"; }

# ------------------------------------------------------------------------------- files

sum() { sha256sum < "$1" | cut -d ' ' -f 1; }
md5() { md5sum < "$1" | cut -d ' ' -f 1; }
size_of() { stat -c %s "$1"; }
# piece FILE OFFSET LENGTH: these bytes of a file.
piece() { tail -c +$(($2 + 1)) "$1" | head -c "$3"; }
# noise SIZE SEED: bytes that do not repeat, the same in every run.
noise() {
    awk -v n="$1" -v s="$2" 'BEGIN { srand(s); for (i = 0; i < n / 16; i++)
        printf "%08x%08x", int(rand() * 4294967295), int(rand() * 4294967295) }' | head -c "$1"
}
# text LINES: always the same.
text() { seq 1 "$1" | sed 's/$/ lines of text that compress as text does/'; }
# make VARIANT...: images by $make_ewf, VARIANT.E01 ... and VARIANT.raw.
make() {
    local v
    for v in "$@"; do
        "$make_ewf" "$v" "$work/$v" > make.log 2>&1 || fail "make_ewf $v" "$(tail -n 1 make.log)"
    done
}
