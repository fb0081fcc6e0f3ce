#!/bin/sh
# run.sh COMMAND... - runs test commands one after the other and adds up their last lines
# "N passed, N failed, N skipped". A command that prints no such line counts as one test by its
# exit status, or as a skip when it prints a line that begins with SKIP.
passed=0 failed=0 skipped=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
for command in "$@"; do
    start=$(date +%s)
    printf '== %s\n' "$command"
    sh -c "$command" </dev/null >"$out" 2>&1
    status=$?
    tr -d '\r' <"$out" | grep -v '^PASS'
    line=$(tr -d '\r' <"$out" | grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' | tail -n 1)
    if [ -n "$line" ]; then
        p=${line%% *}
        f=${line#*passed, } f=${f%% *}
        s=${line#*failed, } s=${s%% *}
    elif grep -q '^SKIP' "$out"; then
        p=0 f=0 s=1
    else
        p=1 f=0 s=0
    fi
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
        echo "FAIL $command: exit status $status"
        f=1 p=0
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '   %s s\n' "$(($(date +%s) - start))"
done
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
