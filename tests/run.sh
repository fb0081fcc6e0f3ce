#!/bin/sh
# run.sh COMMAND... - runs test commands, one after the other or RUN_JOBS at a time, prints what each
# says in order, and adds up their last lines "N passed, N failed, N skipped". A command that prints
# no such line counts as one test by its exit status, or as a skip when it prints a line that begins
# with SKIP.
jobs=${RUN_JOBS:-1}
unset RUN_JOBS # commands are often run.sh again
passed=0 failed=0 skipped=0 n=0
dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT
trap 'exit 2' INT TERM

# one NUMBER: runs a command; its output, status and seconds go to files.
cat > "$dir/one" <<'END'
cd "$2" || exit 1
start=$(date +%s)
sh -c "$(cat "$1.command")" </dev/null >"$1.out" 2>&1
echo $? $(($(date +%s) - start)) > "$1.status.part"
mv "$1.status.part" "$1.status"
END
for command in "$@"; do
    n=$((n + 1))
    printf '%s' "$command" > "$dir/$n.command"
done
seq 1 $n | xargs -P "$jobs" -I @ sh "$dir/one" "$dir/@" "$PWD" &

n=0
for command in "$@"; do
    n=$((n + 1)) out=$dir/$n.out
    printf '== %s\n' "$command"
    until [ -e "$dir/$n.status" ]; do sleep 0.1; done
    read -r status seconds < "$dir/$n.status"
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
        echo "FAIL $command: exit status $status" | tee -a "$dir/own"
        f=1 p=0
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '   %s s\n' "$seconds"
done

# What failed, once more where one looks first: just above the sum.
[ "$failed" -eq 0 ] || cat "$dir"/*.out "$dir/own" 2>/dev/null | tr -d '\r' | grep '^FAIL' | sort -u
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
