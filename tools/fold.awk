# fold.awk - makes one self-contained file of a header and those of ours that it includes.
#
#     awk -f tools/fold.awk ewf_read.h > dist/ewf_read.h
#
# Each quoted include that begins a line is replaced by the text of that file, which stands beside
# the header; the second and later ones of the same file are left out. Indented includes are the
# quick starts in comments and stay. A header that is missing ends this with exit status 1.
#
# Only the first include of a file counts, so a header must have switched on what any later one
# needs before it: ewf_read.h defines POSIO_IMPLEMENTATION itself when thread_pool.h would.
#
# The text of the file LICENSE, beside the header too, follows as a comment at the end.

function fold(name,    line, quoted, got)
{
    done[name] = 1
    while ((got = (getline line < (folder name))) > 0) {
        if (line !~ /^#[ \t]*include[ \t]*"/) {
            print line
            continue
        }
        split(line, quoted, "\"")
        if (!(quoted[2] in done) && !fold(quoted[2])) return 0
    }
    return ended(name, got)
}

# Was the file read to its end?
function ended(name, got)
{
    close(folder name)
    if (got < 0) print "fold.awk: cannot read " folder name | "cat 1>&2"
    return got == 0
}

function license(name,    line, got)
{
    print "\n/*\nLICENSE\n"
    while ((got = (getline line < (folder name))) > 0) {
        gsub(/\*\//, "* /", line)
        print line
    }
    print "*/"
    return ended(name, got)
}

BEGIN {
    if (ARGC != 2) {
        print "usage: awk -f fold.awk HEADER > FOLDED" | "cat 1>&2"
        exit 2
    }
    folder = name = ARGV[1]
    sub(/[^\/]*$/, "", folder)
    if (!fold(substr(name, length(folder) + 1)) || !license("LICENSE")) exit 1
}
