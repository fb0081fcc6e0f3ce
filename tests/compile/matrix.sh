#!/usr/bin/env bash
# matrix.sh BUILD_DIR - how the headers include, compile and link, by every compiler at hand.
#
# One line for each check: "PASS name", "FAIL name: why" or "SKIP name: what is missing". The last
# line is "N passed, N failed, N skipped"; exit status 1 when any failed. What a failed check
# printed is in BUILD_DIR/matrix/log/. MATRIX_JOBS checks run at a time (2).
#
#   folding    alone.c     tools/fold.awk; several folded files, and two versions, in one file
#   linking    main.c use.c impl.c pool.c static.c    translation units that share pools
#   refusals               each #error that a user can meet, and that no other errors follow
#   leaks      leaks.c     what an include leaves behind: headers, macros, symbols, data
#   as printed             quick starts, and the command lines of examples/
#   warnings   hostile.c   each header behind other headers' macros; hooks.c   ours replaced
#              header.c    each header twice, with and without functions; languages; compilers

set -u
export LC_ALL=C WINEDEBUG=-all
[ $# = 1 ] || { echo "usage: matrix.sh BUILD_DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd) && root=$(cd "$here/../.." && pwd) || exit 2
mkdir -p "$1" && build=$(cd "$1" && pwd)/matrix || exit 2
rm -rf "$build" && mkdir -p "$build/log" "$build/dist" && cd "$build" || exit 2

shared="posio thread_pool chunk_cache deflate_read digest zstd_block"
formats=
for h in ewf_read vmdk_read qcow2_read vhdx_read mft_scan zstd_par hexz_pack; do
    [ -f "$root/$h.h" ] && formats="$formats $h"
done

# Headers that need <zstd.h>, which a cross compiler may not have: third_party has it, if anything.
wants_zstd=" zstd_par hexz_pack "
if [ -f "$root/third_party/zstd.h" ]; then
    export C_INCLUDE_PATH=$root/third_party CPLUS_INCLUDE_PATH=$root/third_party
fi
no_zstd=" "
for cc in gcc g++ clang clang++ tcc musl-gcc i686-linux-gnu-gcc s390x-linux-gnu-gcc \
    x86_64-w64-mingw32-gcc x86_64-w64-mingw32-g++ i686-w64-mingw32-gcc aarch64-linux-gnu-gcc; do
    command -v $cc > /dev/null 2>&1 || continue
    echo '#include <zstd.h>' > zstd.c
    $cc -E zstd.c > /dev/null 2>&1 || no_zstd="$no_zstd$cc "
done

# those_of COMPILER HEADER...: the headers that it can compile.
those_of() {
    local cc=$1 h
    shift
    for h; do
        case "$no_zstd" in *" $cc "*)
            case "$wants_zstd" in *" $h "*) continue ;; esac ;;
        esac
        echo $h
    done
}
[ "$no_zstd" = "${no_zstd/ gcc / }" ] || formats=$(those_of gcc $formats)
headers="$shared $(echo $formats)"
formats=" $(echo $formats)"

warn="-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wcast-qual -Wundef -Wvla"
warn="$warn -Wunused"
warn_c="$warn -Wc++-compat -Wstrict-prototypes -Wmissing-prototypes"
warn_cxx="$warn -Wmissing-declarations"
posix=-D_POSIX_C_SOURCE=200809L
no_threads=-DTHREAD_POOL_NO_THREADS

# ------------------------------------------------------------------------------- the framework

pass() { echo "PASS $1" | tee -a results; }
fail() { echo "FAIL $1: $2" | tee -a results; }
skip() { echo "SKIP $1: $2" | tee -a results; }

upper() { echo "$1" | tr a-z A-Z; }
log_of() { echo "$build/log/$(echo "$1" | tr -c 'A-Za-z0-9_.+\n-' _).txt"; }

# The line of a log that says most.
why() { { grep -E '(error|warning): |undefined|multiple def' "$1" || cat "$1"; } | head -n 1 | cut -c 1-200; }

# source_of FILE LINE...
source_of() { printf '%s\n' "${@:2}" > "$1"; }

# compile LOG COMMAND...: it succeeds and prints nothing, and so did those before it.
compile() {
    local log=$1
    shift
    "$@" >> "$log" 2>&1 && [ ! -s "$log" ]
}

# silent NAME COMMAND...: the check that a command succeeds and prints nothing.
silent() {
    local name=$1 log
    log=$(log_of "$name")
    shift
    if compile "$log" "$@"; then pass "$name"; else fail "$name" "$(why "$log")"; fi
}

# refused NAME TEXT COMMAND...: it fails, and every error and warning in its output contains TEXT.
refused() {
    local name=$1 text=$2 log
    log=$(log_of "$name")
    shift 2
    if "$@" > "$log" 2>&1; then fail "$name" "it was accepted"
    elif ! grep -q -e "$text" "$log"; then fail "$name" "$(why "$log")"
    elif grep -E '(error|warning): ' "$log" | grep -v -e "$text" > "$log.more"; then
        fail "$name" "more errors follow: $(why "$log.more")"
    else pass "$name"; fi
}

# have NAME TOOL...: all are there, or a SKIP line.
have() {
    local name=$1 tool
    shift
    for tool; do
        command -v "$tool" > /dev/null 2>&1 || { skip "$name" "$tool missing"; return 1; }
    done
}

# can NAME COMPILER HEADER: it finds what the header includes, or a SKIP line.
can() {
    [ -n "$(those_of $2 $3)" ] || { skip "$1" "$2 has no <zstd.h> (make amalgamation)"; return 1; }
}

# start FUNCTION ARGUMENT...: runs it beside others, MATRIX_JOBS at once.
running=0
start() {
    if [ $running -ge "${MATRIX_JOBS:-2}" ]; then wait -n; running=$((running - 1)); fi
    "$@" < /dev/null &
    running=$((running + 1))
}
finish() { wait; running=0; }

# ------------------------------------------------------------------------------- folding

fold_all() {
    local h
    for h in $headers; do
        awk -f "$root/tools/fold.awk" "$root/$h.h" > "dist/$h.h" || return 1
        grep -n -H -E '^# *include *"' "dist/$h.h"
        grep -q '^       #include "'$h'.h"' "dist/$h.h" || echo "$h.h: the quick start is harmed"
        grep -q 'ALTERNATIVE B - Public Domain' "dist/$h.h" || echo "$h.h: no licence in it"
    done
    return 0
}

# A header states its version four times.
versions_agree() {
    local h H
    for h in $headers; do
        H=$(upper $h)
        sed -n -E "s/^#define ${H}_(VERSION|I_IMPLEMENTED) ([0-9]+).*/\2/p
            s/^#elif ${H}_VERSION < ([0-9]+)\$/\1/p
            s/^#elif defined\(${H}_IMPLEMENTATION\) && ${H}_I_IMPLEMENTED < ([0-9]+)\$/\1/p" \
            "$root/$h.h" > versions.txt
        [ "$(wc -l < versions.txt)" = 4 ] && [ "$(sort -u versions.txt | wc -l)" = 1 ] ||
            echo "$h.h: VERSION, I_IMPLEMENTED and what they are compared to differ"
    done
}

# patched FILE HEADER DELTA: a folded header, as if its version were another.
patched() {
    local H v words
    H=$(upper $2)
    words="(VERSION|I_IMPLEMENTED)"
    v=$(sed -n -E "s/^#define ${H}_VERSION ([0-9]+).*/\1/p" "dist/$2.h")
    sed -E "s/^(#define ${H}_$words |#elif .*${H}_$words < )[0-9]+/\1$((v + $3))/" \
        "dist/$2.h" > "$1"
}

# two_versions FORMAT PART: the folded FORMAT, and PART folded by itself in another version.
two_versions() {
    local f=$1 p=$2 d="two/$1_$2" use on_f on_p cc="gcc -std=gnu99 $warn_c -I. -fsyntax-only"
    local old="$p.h: .*an* older copy"
    mkdir -p "$d"
    patched "$d/older.h" $p -1
    patched "$d/newer.h" $p 1
    use="#include \"dist/$f.h\""
    on_f="#define $(upper $f)_IMPLEMENTATION" on_p="#define $(upper $p)_IMPLEMENTATION"
    source_of $d/1.c "$on_p" "$on_f" "#include \"$d/older.h\"" "$use"
    source_of $d/2.c "$on_p" "$on_f" "$use" "#include \"$d/older.h\""
    source_of $d/3.c "$on_p" "$on_f" "#include \"$d/newer.h\"" "$use"
    source_of $d/4.c "$on_p" "$on_f" "$use" "#include \"$d/newer.h\""
    source_of $d/5.c "#include \"$d/newer.h\"" "$on_f" "$use" "$on_p" "#include \"$d/newer.h\""
    refused "folded: $f.h after an older $p.h is refused" "$old" $cc -E $d/1.c
    silent "folded: $f.h before an older $p.h" $cc $d/2.c
    silent "folded: $f.h after a newer $p.h" $cc $d/3.c
    refused "folded: $f.h before a newer $p.h is refused" "$old" $cc -E $d/4.c
    [ $p = $f ] || refused "folded: types of a newer $p.h, $f.h, functions of the newer" \
        "functions of an older copy" $cc -E $d/5.c
}

several_folded() {
    local h what order cc t
    mkdir -p several
    for what in functions declarations; do
        for order in "$headers" "$(echo $headers | tr ' ' '\n' | tac | tr '\n' ' ')"; do
            t=several/$what.c
            : > $t
            if [ $what = functions ]; then
                for h in $headers; do echo "#define $(upper $h)_IMPLEMENTATION" >> $t; done
            fi
            for h in $order $order; do echo "#include \"dist/$h.h\"" >> $t; done
            for h in $order; do echo "#include \"$h.h\"" >> $t; done # as in the repository
            for cc in "gcc -std=gnu99 $warn_c" "g++ -x c++ -std=c++11 $warn_cxx"; do
                $cc -fsyntax-only -I. -I"$root" $t || return 1
            done
        done
    done
    for h in $headers; do # first the declarations, as in a user's header
        source_of several/later.c "#include \"dist/$h.h\"" "#define $(upper $h)_IMPLEMENTATION" \
            "#include \"dist/$h.h\""
        gcc $warn_c -fsyntax-only -I. several/later.c || return 1
    done
}

# A folded header gives the functions of any one header that is in it.
parts_of_folded() {
    local h p P
    for h in $headers; do
        for p in $shared; do
            P=$(upper $p)
            grep -q "^#ifndef CHUNKWISE_${P}_H" "dist/$h.h" || continue
            source_of part.c "#define ${P}_IMPLEMENTATION" "#include \"dist/$h.h\"" \
                "#ifndef ${P}_I_IMPLEMENTED" "#error \"$h.h did not bring $p.h\"" "#endif"
            gcc $warn_c -fsyntax-only -I. part.c || return 1
        done
    done
}

folding() {
    local f p rest
    silent "folded: every include is replaced" fold_all
    silent "version numbers agree" versions_agree
    start silent "folded: several in one file" several_folded
    start silent "folded: only one part's functions" parts_of_folded
    # What is folded is the same text in every format: each shared header is tried in one of them.
    rest=$shared
    for f in $formats; do
        for p in $rest $f; do
            grep -q "^#ifndef CHUNKWISE_$(upper $p)_H" "dist/$f.h" || continue
            start two_versions $f $p
            rest=$(echo $rest | tr ' ' '\n' | grep -v -x $p)
        done
    done
    finish
}

# ------------------------------------------------------------------------------- linking

# The image, and what md5sum says of its media.
image() {
    gcc -O1 -o make_ewf "$root/tests/fixtures/make_ewf.c" && ./make_ewf encase6 ./encase6 &&
        md5=$(md5sum < encase6.raw | cut -d ' ' -f 1)
}

# verdict NAME TEXT PROGRAM LOG: what it prints is the MD5 of the media, " match", and TEXT.
verdict() {
    local name=$1 said
    said=$(timeout 100 $runner "$3" encase6.E01 < /dev/null 2>> "$4" | tr -d '\r' | tail -n 1)
    if [ "$said" = "$md5 match$2" ]; then pass "$name"; else fail "$name" "it printed '$said'"; fi
}

# alone LABEL RUNNER COMMAND...: one folded header and a program in a folder of their own.
alone() {
    local label=$1 runner=$2 name="alone: $1" log
    shift 2
    log=$(log_of "$name")
    have "$name" $1 $runner || return
    mkdir -p "alone/$label" && cp dist/ewf_read.h "$here/alone.c" "alone/$label/" || return
    if (cd "alone/$label" && compile "$log" "$@" alone.c -o alone.exe); then
        verdict "$name" "" "alone/$label/alone.exe" "$log"
    else
        fail "$name" "$(why "$log")"
    fi
}

# program NAME THREADS OBJECT...: links objects of $d by $cc; the pool must have THREADS threads.
program() {
    local name=$1 threads=$2 objects= o exe
    shift 2
    for o; do objects="$objects $d/$o.o"; done
    exe="$d/$(echo "$*" | tr ' ' _).exe"
    if compile "$log" $cc $objects -o "$exe"; then
        verdict "$name" " threads $threads" "$exe" "$log"
    else
        fail "$name" "$(why "$log")"
    fi
}

# objects SUFFIX "OPTIONS" UNIT...: UNIT.c makes $d/UNITSUFFIX.o.
objects() {
    local suffix=$1 options=$2 unit
    shift 2
    for unit; do
        compile "$log" $cc -I"$root" -I"$here" $options -c "$here/$unit.c" \
            -o "$d/$unit$suffix.o" || { fail "link: $label" "$(why "$log")"; return 1; }
    done
}

# linked LABEL RUNNER WHICH COMMAND...: several translation units. WHICH: all, or only lent.
linked() {
    local label=$1 runner=$2 which=$3 d="link/$1" log cc
    shift 3
    log=$(log_of "link $label") cc="$*"
    have "link: $label" $1 $runner || return
    mkdir -p "$d"
    objects "" "" impl use pool main || return
    program "link: $label: a pool lent across files" 4 impl use pool main
    [ "$which" = lent ] && return
    objects _one -DNAME=parts_static_one static || return
    objects _two -DNAME=parts_static_two static || return
    objects _both -DWITH_STATIC main || return
    objects _serial $no_threads impl pool || return
    objects _two_serial "$no_threads -DNAME=parts_static_two" static || return
    program "link: $label: two private copies" 4 static_one static_two pool main_both
    program "link: $label: a pool lent to code without threads" 4 impl_serial use pool main
    program "link: $label: a pool without threads lent" 1 impl use pool_serial main
    program "link: $label: no threads in any file" 1 impl_serial use pool_serial main
    program "link: $label: one of two private copies has threads" 4 \
        static_one static_two_serial pool main_both
}

# A compiler without atomics.
linked_tcc() {
    local label=tcc runner= d=link/tcc log cc="tcc -Wall $no_threads"
    log=$(log_of "link tcc")
    have "link: tcc" tcc || return
    mkdir -p $d
    objects "" "" impl use pool main || return
    objects _one -DNAME=parts_static_one static || return
    objects _two -DNAME=parts_static_two static || return
    objects _both -DWITH_STATIC main || return
    program "link: tcc: a pool without threads lent" 1 impl use pool main
    program "link: tcc: two private copies" 1 static_one static_two pool main_both
}

mixed_languages() {
    local label="C and C++" runner= d=link/mixed log cc
    log=$(log_of "link mixed")
    have "link: $label" gcc g++ || return
    mkdir -p $d
    cc="gcc -std=gnu99 $warn_c" && objects "" "" impl use pool main || return
    cc="g++ -x c++ -std=c++11 $warn_cxx" && objects _xx "" impl use pool main || return
    cc="g++ -pthread"
    program "link: functions in C, users in C++" 4 impl use_xx pool_xx main_xx
    program "link: functions in C++, users in C" 4 impl_xx use pool main
}

linking() {
    local w64=x86_64-w64-mingw32 i686="i686-linux-gnu-gcc -static -D_FILE_OFFSET_BITS=64 -pthread"
    local s390x="s390x-linux-gnu-gcc -static -pthread" qemu=qemu-s390x-static
    image || { fail "the image" "tests/fixtures/make_ewf.c"; return; }
    start alone mingw wine $w64-gcc -std=c99 $warn_c
    start alone mingw++ wine $w64-g++ -x c++ -std=c++11 $warn_cxx -static
    start alone gcc-gnu99 "" gcc -std=gnu99 $warn_c -pthread
    start alone gcc-c99 "" gcc -std=c99 $posix $warn_c -pthread
    start alone clang-gnu99 "" clang -std=gnu99 $warn_c -pthread
    start alone g++11 "" g++ -x c++ -std=c++11 $warn_cxx -pthread
    start alone clang++11 "" clang++ -x c++ -std=c++11 $warn_cxx -pthread
    start alone musl "" musl-gcc -static $warn_c
    start alone i686 "" $i686 $warn_c
    start alone s390x $qemu $s390x $warn_c
    start alone tcc "" tcc -Wall $no_threads
    start linked gcc "" all gcc -std=gnu99 $warn_c -pthread
    start linked mingw wine all $w64-gcc -std=gnu99 $warn_c
    start linked clang "" lent clang -std=gnu99 $warn_c -pthread
    start linked musl "" lent musl-gcc -static $warn_c
    start linked i686 "" lent $i686 $warn_c
    start linked s390x $qemu lent $s390x $warn_c
    start linked_tcc
    start mixed_languages
}

# ------------------------------------------------------------------------------- refusals

refuse_format() {
    local h=$1 H cc fix="compile with -std=gnu99 (or later), or -D_POSIX_C_SOURCE=200809L"
    H=$(upper $1)
    local on="#define ${H}_IMPLEMENTATION" use="#include \"$h.h\"" name d=refuse/$1
    mkdir -p $d
    source_of $d/twice.c "$on" "$use" "$use"
    for cc in gcc clang musl-gcc; do
        name="refused: $h.h: strict C99 $cc"
        have "$name" $cc && can "$name" $cc $h &&
            refused "$name" "$fix" $cc -std=c99 -I"$root" -fsyntax-only $d/twice.c
    done
    name="refused: $h.h: 32-bit offsets"
    cc=i686-linux-gnu-gcc
    have "$name" $cc && can "$name" $cc $h &&
        refused "$name" add__D_FILE_OFFSET_BITS_64 $cc -I"$root" -fsyntax-only $d/twice.c
    name="refused: $h.h: threads without atomics"
    have "$name" tcc && can "$name" tcc $h && refused "$name" "define THREAD_POOL_NO_THREADS" \
        tcc -I"$root" -c $d/twice.c -o $d/none.o
    source_of $d/static1.c "$use" "#define ${H}_STATIC" "$use"
    source_of $d/static2.c "$on" "$use" "#define ${H}_STATIC" "$use"
    for name in static1 static2; do
        refused "refused: $h.h: late ${H}_STATIC ($name)" \
            "define ${H}_STATIC before the first include" \
            gcc -I"$root" -fsyntax-only $d/$name.c
    done
}

refuse_late_no_threads() {
    local h=$1 d=refuse/$1 n
    local on="#define $(upper $1)_IMPLEMENTATION" off="#define THREAD_POOL_NO_THREADS"
    local use="#include \"$h.h\""
    mkdir -p $d
    source_of $d/late1.c "$use" "$off" "$use"
    source_of $d/late2.c "$use" "$off" "$on" "$use"
    source_of $d/late3.c "$on" "$use" "$off" "$use"
    for n in 1 2 3; do
        refused "refused: $h.h: late THREAD_POOL_NO_THREADS ($n)" \
            "define THREAD_POOL_NO_THREADS before the first chunkwise header" \
            gcc -I"$root" -fsyntax-only $d/late$n.c
    done
}

refusals() {
    local h
    for h in $formats; do start refuse_format $h; done
    for h in $headers; do start refuse_late_no_threads $h; done
}

# ------------------------------------------------------------------------------- leaks

includes() { # COMMAND...
    local h
    for h in $headers; do
        "$@" -fsyntax-only -I"$root" -DHEADER="\"$h.h\"" "$here/leaks.c" || return 1
    done
}

# Macros that files of ours define and leave defined, from the output of -dD -E.
surviving() {
    awk -v root="$root/" '
        /^# [0-9]+ "/ { split($0, q, "\""); ours = index(q[2], root) == 1 && !index(q[2], "/third_party/") }
        $1 == "#define" && ours { sub(/\(.*/, "", $2); alive[$2] = 1 }
        $1 == "#undef" { delete alive[$2] }
        END { for (m in alive) print m }'
}

# Internal macros that stay: guards, and what thread_pool.h must know of posio.h.
internal='_I_(IMPLEMENTED|STATIC)$|^POSIO_I_(ATOMICS|NO_THREADS)$'

macros() { # COMMAND...
    local h H stems found
    stems=$(upper "$headers" | tr ' ' '|')
    for h in $(those_of $1 $headers); do
        H=$(upper $h)
        set -- "$@" -I"$root" -dD -E
        found=$("$@" -DHEADER="\"$h.h\"" "$here/header.c" | surviving)
        echo "$found" | grep -q "^CHUNKWISE_${H}_H\$" || echo "$h.h: no guard was seen"
        echo "$found" | grep -v -E "^($H|POSIO|CHUNKWISE)_" | sed "s/^/declarations of $h.h: /"
        found=$("$@" -DHEADER="\"$h.h\"" -D${H}_IMPLEMENTATION "$here/header.c" | surviving)
        echo "$found" | grep -v -E "^($stems|CHUNKWISE)_" | sed "s/^/functions of $h.h: /"
        echo "$found" | grep _I_ | grep -v -E "$internal" | sed "s/^/functions of $h.h: /"
    done
    return 0
}

# keep HEADER: the option that makes the compiler keep unused functions of a shared header.
keep() { echo "-D$(upper $1)_API=static __attribute__((used))"; }

# defined OBJECT: its global symbols. writable OBJECT: those of its data that can be written.
defined() { nm -g --defined-only "$1" | awk '{ print $NF }'; }
writable() { nm "$1" | awk 'tolower($2) ~ /^[dbcs]$/ { print $NF }'; }
the_word='^(word\.[0-9]+|posio_i_cpu_word\.word|_ZZL?[0-9]+posio_i_cpu_wordvE4word)$'

# Position-dependent code: tables of pointers are read-only data there, as they are in the source.
object() { # HEADER COMMAND...
    local h=$1
    shift
    "$@" -fno-pie -fno-pic -I"$root" -DHEADER="\"$h.h\"" -c "$here/header.c" -o "$object" ||
        return 1
    writable "$object" | grep -v -E "$the_word" | sed "s/^/$h.h: writable data: /"
    [ "$(writable "$object" | wc -l)" -le 1 ] || echo "$h.h: more than one writable word"
}

symbols() { # COMMAND...
    local h H object=symbols_$BASHPID.o
    for h in $formats; do
        H=$(upper $h)
        object $h "$@" -D${H}_IMPLEMENTATION || return 1
        defined $object | grep -q "^${h}_" || echo "$h.h: nothing is exported"
        defined $object | grep -v "^${h}_" | sed "s/^/$h.h: exported: /"
        object $h "$@" -D${H}_STATIC || return 1
        defined $object | sed "s/^/$h.h: exported though static: /"
        object $h "$@" || return 1
        defined $object | sed "s/^/$h.h: exported by declarations: /"
    done
    [ $1 = gcc ] || return 0
    for h in $shared; do
        object $h "$@" -D$(upper $h)_IMPLEMENTATION "$(keep $h)" || return 1
        nm $object | grep -q " t .*${h}_" || echo "$h.h: no functions"
        defined $object | sed "s/^/$h.h: exported: /"
    done
    return 0
}

leaks() {
    local cc
    for cc in gcc x86_64-w64-mingw32-gcc; do
        have "leaks: macros $cc" $cc && start silent "leaks: macros $cc" macros $cc
    done
    for cc in gcc clang musl-gcc i686-linux-gnu-gcc x86_64-w64-mingw32-gcc; do
        have "leaks: headers $cc" $cc && start silent "leaks: headers $cc" includes $cc
    done
    have "leaks: symbols gcc" gcc nm && start silent "leaks: symbols gcc" symbols gcc
    have "leaks: symbols clang" clang nm && start silent "leaks: symbols clang" symbols clang
    have "leaks: symbols g++" g++ nm && start silent "leaks: symbols g++" symbols g++ -x c++
}

# ------------------------------------------------------------------------------- as printed

# The program under QUICK START in a header's comment.
quick_start() {
    awk '/^   QUICK START/ { on = 1; next }
         on && /^   [A-Z]/ { exit }
         on { sub(/^       /, ""); print }' "$1"
}

# What the program of a header, or an example, is linked with.
libraries() { case $1 in zstd_par | hexz_pack | unzst | pack) echo -lzstd ;; esac; }

quick_start_check() {
    local h=$1 name="quick start: $1.h" log argument= program=./quick_$1
    log=$(log_of "$name")
    quick_start "$root/$h.h" > quick_$h.c
    grep -q '^int main' quick_$h.c || { fail "$name" "no program found"; return; }
    if ! compile "$log" gcc -std=c99 $posix $warn_c -pthread -I"$root" quick_$h.c \
        -o $program $(libraries $h) ||
        ! compile "$log" clang -std=gnu99 $warn_c -I"$root" -fsyntax-only quick_$h.c; then
        fail "$name" "$(why "$log")"
        return
    fi
    case $h in
    ewf_read) argument=encase6.E01 ;;
    posio) argument=encase6.raw ;;
    thread_pool | chunk_cache | deflate_read | digest | zstd_block) ;;
    *) program=true ;; # an input that this does not make
    esac
    if timeout 100 $program $argument > "$log" 2>&1; then pass "$name"
    else fail "$name" "exit status $?: $(head -n 1 "$log")"; fi
}

example() {
    local line="cc -O2 -pthread examples/$1.c -o $1" log said
    line=$(echo $line $(libraries $1))
    log=$(log_of "$line")
    [ -f "$root/examples/$1.c" ] || { skip "$line" "examples/$1.c missing"; return; }
    if (cd "$root" && compile "$log" cc -O2 -pthread "examples/$1.c" -o "$build/$1" \
        $(libraries $1)); then
        pass "$line"
    else
        fail "$line" "$(why "$log")"
        return
    fi
    [ $1 = verify ] || return 0
    : > image.raw.zst
    if said=$(./verify image.raw.zst 2>&1); then
        fail "examples/verify: without zstd" "exit status 0"
    elif [ "${said#*built without zstd (-DOPEN_IMAGE_ZSTD}" = "$said" ]; then
        fail "examples/verify: without zstd" "it said $said"
    else pass "examples/verify: without zstd it says so"; fi
    if said=$(timeout 100 ./verify encase6.E01 2>&1); then pass "examples/verify: good image"
    else fail "examples/verify: good image" "exit status $?: $(echo "$said" | head -n 1)"; fi
}

as_printed() {
    local h
    for h in $headers; do start quick_start_check $h; done
    for h in verify export mft_scan unzst pack; do
        case $h in unzst | pack) [ -n "$(those_of gcc zstd_par)" ] || continue ;; esac
        [ $h != verify ] && [ ! -f "$root/examples/$h.c" ] || start example $h
    done
}

# ------------------------------------------------------------------------------- warnings

# each KIND COMMAND...: header.c for every header. KIND: functions, declarations; or for formats
# only, which bring all the others along: private (copies).
each() {
    local kind=$1 list=$headers on= h
    shift
    [ $kind != private ] || list=$formats
    for h in $(those_of $1 $list); do
        case $kind in
        functions) on=-D$(upper $h)_IMPLEMENTATION ;;
        private) on=-D$(upper $h)_STATIC ;;
        esac
        "$@" -I"$root" -DHEADER="\"$h.h\"" $on "$here/header.c" || return 1
    done
}

# all_of SUFFIX HEADER...: $all, one source with all of them, each X_SUFFIX: for what is no different
# where each is alone.
all_of() {
    local suffix=$1 h
    all=all_$BASHPID.c
    shift
    for h; do echo "#define $(upper $h)_$suffix"; done > $all
    for h in "$@" "$@"; do echo "#include \"$h.h\""; done >> $all
}

# For the warnings that follow the flow: optimised, and no function left out.
optimized() { # COMMAND...
    local h kept=() object=optimized_$BASHPID.o all
    for h in $shared; do kept+=("$(keep $h)"); done
    all_of IMPLEMENTATION $(those_of $1 $formats)
    "$@" -O2 "${kept[@]}" -I"$root" -c $all -o $object
}

# together SUFFIX COMMAND...: the formats in one file.
together() {
    local suffix=$1 all
    shift
    all_of $suffix $(those_of $1 $formats)
    "$@" -I"$root" $all
}

# warnings_of LABEL LANGUAGE "COMMAND" STANDARD...: options may follow a standard after a comma.
warnings_of() {
    local label=$1 cc=$3 standard kind functions=functions
    have "warnings: $label" ${3%% *} || return
    if [ $2 = c ]; then cc="$cc $warn_c"; else cc="$cc -x c++ $warn_cxx"; fi
    shift 3
    for standard; do
        for kind in $functions declarations; do
            silent "warnings: $label ${standard%%,*}, $kind" \
                each $kind $cc -fsyntax-only -std=${standard/,/ }
        done
        # every header alone by the first standard; then all of them at once
        [ -n "$functions" ] || silent "warnings: $label ${standard%%,*}, formats" \
            together IMPLEMENTATION $cc -fsyntax-only -std=${standard/,/ }
        functions=
    done
    silent "warnings: $label ${1%%,*}, private copies" together STATIC $cc -fsyntax-only \
        -std=${1/,/ }
    case $label in # each front end and each word size once: the rest is the same compiler
    gcc | g++ | clang | i686 | mingw)
        silent "warnings: $label ${1%%,*}, optimized" optimized $cc -std=${1/,/ } ;;
    esac
}

# Options that leave something out, each alone; and both need no feature macro.
options() {
    local on cc="gcc $warn_c -fsyntax-only"
    for on in $no_threads -DPOSIO_NO_FILES -DDIGEST_NO_SIMD; do
        silent "warnings: gcc $on" each functions $cc $on
    done
    silent "warnings: gcc strict C99 without files and threads" \
        each functions $cc -std=c99 $no_threads -DPOSIO_NO_FILES
    for cc in "gcc $warn_c" "clang $warn_c" "g++ -x c++ $warn_cxx"; do
        have "warnings: ${cc%% *}, hooks" ${cc%% *} &&
            silent "warnings: ${cc%% *}, hooks" $cc -O2 -I"$root" -c "$here/hooks.c" \
                -o hooks_${cc%% *}.o
    done
}

# Behind the macros of other headers. clang for Windows is there where MinGW's headers are.
hostile_to() { # LABEL COMMAND...
    local label=$1 h zstd
    shift
    have "hostile macros: $label" $1 || return
    for h in $(those_of $1 $headers); do
        zstd=
        case "$wants_zstd" in *" $h "*) zstd=-DWITH_ZSTD ;; esac
        silent "hostile macros: $label, $h.h" "$@" $zstd -fsyntax-only -I"$root" \
            -DHEADER="\"$h.h\"" -D$(upper $h)_IMPLEMENTATION "$here/hostile.c"
    done
}

hostile_macros() {
    local cc w64=x86_64-w64-mingw32 windows="deflate_read digest zstd_block posio" headers=$headers
    for cc in gcc clang "g++ -x c++ -std=c++11" aarch64-linux-gnu-gcc $w64-gcc \
        i686-w64-mingw32-gcc; do
        hostile_to "${cc%% *}" $cc
    done
    headers=$windows
    have "hostile macros: clang $w64" clang $w64-gcc &&
        hostile_to "clang $w64" clang --target=$w64
}

warnings_of_tcc() {
    have "warnings: tcc" tcc || return
    local kind
    for kind in functions declarations private; do
        silent "warnings: tcc, $kind" each $kind tcc -Wall $no_threads -o "$build/tcc-$kind.o" -c
    done
}

warnings() {
    local c="gnu99 c99,$posix c11,$posix c17,$posix" cxx="c++11 c++17 c++20"
    local w64=x86_64-w64-mingw32
    start warnings_of g++ c++ g++ $cxx
    start warnings_of gcc c gcc $c
    start warnings_of clang++ c++ clang++ $cxx
    start warnings_of clang c clang $c
    start warnings_of mingw-g++ c++ $w64-g++ c++11 c++20
    start warnings_of mingw c $w64-gcc gnu99 c99 c17
    start warnings_of i686 c "i686-linux-gnu-gcc -D_FILE_OFFSET_BITS=64" gnu99 c99,$posix
    start warnings_of musl c musl-gcc gnu99 c99,$posix
    start warnings_of s390x c s390x-linux-gnu-gcc gnu99
    start options
    start hostile_macros
    start warnings_of_tcc
}

: > results
for cc in $no_zstd; do skip "zstd_par.h, hexz_pack.h by $cc" "it has no <zstd.h> (make amalgamation)"; done
folding
linking
refusals
leaks
as_printed
warnings
finish
passed=$(grep -c ^PASS results)
failed=$(grep -c ^FAIL results)
skipped=$(grep -c ^SKIP results)
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] || exit 1
