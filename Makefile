# chunkwise: single-file C libraries; this builds the tools, the tests and the folded headers.
# CC, CFLAGS, CPPFLAGS, LDFLAGS and LDLIBS from the environment or the command line are respected.

CC      ?= cc
CFLAGS  ?= -O2
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
RUNNER  ?=
EXE     ?=
WERROR  ?=
SECONDS_PER_TARGET ?= 60
CORES   := $(shell nproc 2>/dev/null || echo 2)

STD      = -std=gnu99
WARN     = -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wcast-qual -Wundef \
           -Wvla $(WERROR)
COMPILE  = $(CC) $(STD) $(WARN) $(CPPFLAGS) $(CFLAGS) -pthread

HEADERS  = posio.h thread_pool.h chunk_cache.h deflate_read.h digest.h \
           zstd_block.h $(FORMATS)
FORMATS  = ewf_read.h vmdk_read.h qcow2_read.h vhdx_read.h mft_scan.h zstd_par.h \
           hexz_pack.h
TOOLS    = verify export mft_scan
TOOL_HEADERS = examples/cli.h examples/open_image.h examples/split_raw.h examples/image_files.h \
           examples/media_run.h examples/media_write.h examples/pack_items.h
TESTS    = posio thread_pool chunk_cache deflate_read digest zstd_block ewf_read qcow2_read \
           vmdk_read vhdx_read mft_scan faults
BENCHES  = digest deflate_read thread_pool ewf_read qcow2_read vmdk_read vhdx_read mft_scan
FUZZERS  = deflate_read digest ewf_read qcow2_read vmdk_read vhdx_read mft_scan

# Libraries that some tests compare with, where they are installed; none is needed.
HAVE     = $(shell pkg-config --exists $(1) 2>/dev/null && echo yes)
ifeq ($(call HAVE,zlib),yes)
ZLIB     = -DHAVE_ZLIB -lz
endif
ifeq ($(call HAVE,libisal),yes)
ISAL     = -DHAVE_ISAL -lisal
endif
ifeq ($(call HAVE,libdeflate),yes)
LIBDEFLATE = -DHAVE_LIBDEFLATE -ldeflate
endif
ifeq ($(call HAVE,libcrypto),yes)
OPENSSL  = -DHAVE_OPENSSL -lcrypto
endif
ifeq ($(call HAVE,libxxhash),yes)
XXHASH   = -DHAVE_XXHASH -lxxhash
endif

# zstd: the system's, or with AMALGAMATED=1 what `make amalgamation` makes, for any compiler.
# Without it (ZSTD=) qcow2_read.h and the tools do without, and zstd_par.h and hexz_pack.h are left
# out, with their tests, unzst and pack. lz4 the same way, for hexz_pack.h only.
ifneq ($(AMALGAMATED),)
ZSTD     = -DQCOW2_READ_ZSTD -DOPEN_IMAGE_ZSTD -isystem third_party $(ZSTD_OBJECT)
ZSTD_OBJECT = $(BUILD)/zstd.o
LZ4      = -DHEXZ_PACK_LZ4 -isystem third_party $(LZ4_OBJECTS)
LZ4_OBJECTS = $(BUILD)/lz4.o $(BUILD)/lz4hc.o
NO_ZSTD  =
else
NO_ZSTD  = ZSTD=
ifeq ($(call HAVE,libzstd),yes)
ZSTD     = -DQCOW2_READ_ZSTD -DOPEN_IMAGE_ZSTD -lzstd
endif
ifeq ($(call HAVE,liblz4),yes)
LZ4      = -DHEXZ_PACK_LZ4 -llz4
endif
endif
ifneq ($(ZSTD),)
HEXZ     = -DOPEN_IMAGE_HEXZ $(LZ4)
TOOLS   += unzst pack
TESTS   += zstd_par zstd_blocks hexz_pack
BENCHES += zstd_par hexz_pack
FUZZERS += zstd_par zstd_block hexz_pack
TEST_UNZST = "tests/test_unzst.sh $(BUILD)/unzst $(BUILD)/unzst-cli" \
           "tests/test_pack.sh $(BUILD) $(BUILD)/pack-cli"
else
TEST_UNZST = "echo SKIP zstd_par hexz_pack: libzstd-dev is not installed"
endif

.PHONY: all setup setup-ci demo test test-native test-programs test-core test-clang test-32 test-s390x test-arm test-wine test-asan \
        test-tsan test-valgrind test-plugged test-compile test-peers test-cli test-cli-asan fuzz fuzz-replay \
        bench amalgamation dist install help clean

all: $(TOOLS:%=$(BUILD)/%$(EXE))            ## build the tools (the default)

$(BUILD)/%$(EXE): examples/%.c $(TOOL_HEADERS) $(HEADERS)
	@mkdir -p $(@D)
	$(COMPILE) $< -o $@ $(LDFLAGS) $(LDLIBS)

$(TOOLS:%=$(BUILD)/%$(EXE)): LDLIBS += $(ZSTD) $(HEXZ)
$(TOOLS:%=$(BUILD)/%$(EXE)): | $(ZSTD_OBJECT) $(LZ4_OBJECTS)

$(BUILD)/zstd.o: third_party/zstd.c
	@mkdir -p $(@D)
	$(CC) -O2 $(CPPFLAGS) $(CFLAGS) -w -c $< -o $@

$(BUILD)/lz4.o $(BUILD)/lz4hc.o: $(BUILD)/%.o: third_party/%.c
	@mkdir -p $(@D)
	$(CC) -O2 $(CPPFLAGS) $(CFLAGS) -w -c $< -o $@

# One run makes them all: with -j, too, for the others only wait for the first.
third_party/zstd.c:
	tools/amalgamate.sh third_party
third_party/lz4.c third_party/lz4hc.c: | third_party/zstd.c ;

# ------------------------------------------------------------------ set-up

setup:                                      ## install what `demo` and `test` need (Debian)
	@tools/setup.sh gcc libc6-dev make pkg-config ewf-tools ntfs-3g zlib1g-dev \
	    libzstd-dev liblz4-dev zstd qemu-utils libvmdk-utils libvhdi-utils 7zip fuse3 sleuthkit attr python3

setup-ci: setup                             ## install what all tiers need (Debian)
	@tools/setup.sh g++ clang libclang-rt-14-dev tcc musl-tools valgrind strace time \
	    gcc-i686-linux-gnu libc6-dev-i386-cross gcc-s390x-linux-gnu libc6-dev-s390x-cross \
	    gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-mingw-w64-i686 \
	    qemu-user-static gcc-mingw-w64-x86-64 g++-mingw-w64-x86-64 wine wine64 \
	    libssl-dev libdeflate-dev libisal-dev b3sum

# ------------------------------------------------------------------ demo

demo: $(BUILD)/verify                       ## make a real E01 with an NTFS volume, and verify it
	@tools/demo.sh $(BUILD)

# ------------------------------------------------------------------ tests

FIXTURE_HEADERS = $(wildcard tests/fixtures/*.h)
TEST_HEADERS = tests/test.h tests/zstd_check.h $(FIXTURE_HEADERS)
FUZZ_HEADERS = $(wildcard tests/fuzz/*.h) $(FIXTURE_HEADERS)

$(BUILD)/tests/test_%$(EXE): tests/test_%.c $(TEST_HEADERS) $(HEADERS)
	@mkdir -p $(@D)
	$(COMPILE) $< -o $@ $(LDFLAGS) $(LDLIBS)

$(BUILD)/tests/test_deflate_read$(EXE): LDLIBS += $(ZLIB)
ZSTD_TESTS = $(foreach t,qcow2_read zstd_par zstd_blocks hexz_pack,$(BUILD)/tests/test_$(t)$(EXE))
$(ZSTD_TESTS): LDLIBS += $(ZSTD)
$(ZSTD_TESTS): | $(ZSTD_OBJECT)
$(BUILD)/tests/test_hexz_pack$(EXE): LDLIBS += $(LZ4)
$(BUILD)/tests/test_hexz_pack$(EXE): | $(LZ4_OBJECTS)

# (not to be slowed down by sanitizers)
FIXTURE_CFLAGS = $(CFLAGS)
$(BUILD)/make_%$(EXE): override CFLAGS := $(FIXTURE_CFLAGS)
$(BUILD)/make_%$(EXE): tests/fixtures/make_%.c $(FIXTURE_HEADERS)
	@mkdir -p $(@D)
	$(COMPILE) $< -o $@ $(LDFLAGS)

$(BUILD)/check_%$(EXE): tests/fixtures/check_%.c $(HEADERS)
	@mkdir -p $(@D)
	$(COMPILE) $< -o $@ $(LDFLAGS) $(LDLIBS)

$(BUILD)/check_qcow2$(EXE): LDLIBS += $(ZSTD)
$(BUILD)/check_qcow2$(EXE): | $(ZSTD_OBJECT)

$(BUILD)/fuzz/replay_%: tests/fuzz/fuzz_%.c tests/fuzz/replay.c $(FUZZ_HEADERS) $(HEADERS)
	@mkdir -p $(@D)
	$(COMPILE) $< tests/fuzz/replay.c -o $@ $(LDFLAGS) $(LDLIBS)

$(BUILD)/fuzz/make_seeds: tests/fuzz/make_seeds.c $(FIXTURE_HEADERS) posio.h digest.h
	@mkdir -p $(@D)
	$(COMPILE) $< -o $@ $(LDFLAGS)

$(BUILD)/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $(FUZZ_HEADERS) $(HEADERS)
	@mkdir -p $(@D)
	clang $(STD) -g -O1 -DFUZZ_MUTATOR -fsanitize=fuzzer,address,undefined \
	    -fno-sanitize-recover=undefined \
	    -pthread $< -o $@ $(LDLIBS)

ZSTD_FUZZERS = $(foreach f,qcow2_read zstd_par zstd_block hexz_pack,$(BUILD)/fuzz/replay_$(f) \
               $(BUILD)/fuzz/fuzz_$(f))
$(ZSTD_FUZZERS): LDLIBS += $(ZSTD)
$(ZSTD_FUZZERS): | $(ZSTD_OBJECT)
$(BUILD)/fuzz/replay_hexz_pack $(BUILD)/fuzz/fuzz_hexz_pack: LDLIBS += $(LZ4)
$(BUILD)/fuzz/replay_hexz_pack $(BUILD)/fuzz/fuzz_hexz_pack: | $(LZ4_OBJECTS)
$(BUILD)/fuzz/fuzz_deflate_read: LDLIBS += $(ZLIB)
$(BUILD)/fuzz/fuzz_digest: LDLIBS += $(OPENSSL)

TEST_CLI = "tests/test_cli.sh $(BUILD)/verify $(BUILD)/make_ewf $(BUILD)/make_qcow2 $(BUILD)/cli" \
           "tests/test_export.sh $(BUILD)/export $(BUILD)/make_ewf $(BUILD)/export-cli" \
           "tests/test_images.sh $(BUILD) $(BUILD)/images" \
           "tests/test_mft_scan.sh $(BUILD) $(BUILD)/mft_scan-cli" $(TEST_UNZST)

TEST_PEERS = "tests/test_peers.sh $(BUILD)/verify $(BUILD)/peers" \
           $(foreach f,qcow2 vmdk vhdx,"tests/test_$(f)_peers.sh $(BUILD) $(BUILD)/$(f)-peers")

TEST_PROGRAMS = $(TESTS:%=$(BUILD)/tests/test_%$(EXE))

# Programs that make images, and that tell of them what a test compares with a peer.
FIXTURES = $(addprefix $(BUILD)/,make_ewf make_qcow2 make_vmdk make_vhdx make_mft check_qcow2 \
           check_vmdk check_vhdx)

test-programs: $(TEST_PROGRAMS) $(FIXTURES) $(FUZZERS:%=$(BUILD)/fuzz/replay_%) \
               $(BUILD)/fuzz/make_seeds

# make is called anew: `make setup test` may have just installed what HAVE asks for.
test:                                       ## the one test command: everything native
	@$(MAKE) --no-print-directory -j$(CORES) test-programs all
	@$(MAKE) --no-print-directory test-native

test-native: all test-programs
	@tests/run.sh $(TEST_PROGRAMS:%="%") \
	    "tests/fuzz/replay.sh $(BUILD) $(FUZZERS)" \
	    "tests/compile/matrix.sh $(BUILD)/compile" \
	    $(TEST_CLI) $(TEST_PEERS)

test-core: $(TEST_PROGRAMS)                 ## the core of the tests, by $(CC), run by $(RUNNER)
	@tests/run.sh $(TEST_PROGRAMS:%="$(RUNNER) %")

test-compile:                               ## headers by every compiler at hand, linkage, symbols
	@tests/run.sh "tests/compile/matrix.sh $(BUILD)/compile"

test-cli: all $(FIXTURES)                   ## the command lines
	@tests/run.sh $(TEST_CLI)

test-peers: all $(FIXTURES)                 ## images by other tools, and samples
	@tests/run.sh $(TEST_PEERS)

# One tier: the core (or the target $(4)) in another way, or a counted SKIP where $(2) is missing.
TIER = @if command -v $(2) >/dev/null 2>&1; then $(MAKE) --no-print-directory $(or $(4),test-core) \
    BUILD=$(BUILD)/$(1) ZLIB= $(3); else tests/run.sh "echo SKIP $(1): $(2) is not installed"; fi

# Of long series of like tests, every fifth.
SLOW = CPPFLAGS="$(CPPFLAGS) -DTEST_STRIDE=5"

ASAN = CFLAGS="-g -O1 -fsanitize=address$(comma)undefined -fno-sanitize-recover=undefined" \
    FIXTURE_CFLAGS=-O2

test-clang:                                 ## the core by clang
	$(call TIER,clang,clang,CC=clang)

test-32:                                    ## the core as 32-bit code
	$(call TIER,i686,i686-linux-gnu-gcc,$(NO_ZSTD) \
	    CC="i686-linux-gnu-gcc -D_FILE_OFFSET_BITS=64 -static")

test-s390x:                                 ## the core on a big-endian machine, emulated
	$(call TIER,s390x,s390x-linux-gnu-gcc,$(NO_ZSTD) CC="s390x-linux-gnu-gcc -static" $(SLOW) \
	    RUNNER=qemu-s390x-static)

test-arm:                                   ## what has code for ARM, on AArch64, emulated
	$(call TIER,arm,aarch64-linux-gnu-gcc,$(NO_ZSTD) CC="aarch64-linux-gnu-gcc -static" \
	    RUNNER=qemu-aarch64-static TESTS="posio deflate_read digest")

test-wine:                                  ## the core on Windows, under Wine
	$(call TIER,wine,x86_64-w64-mingw32-gcc,$(NO_ZSTD) CC="x86_64-w64-mingw32-gcc" EXE=.exe \
	    RUNNER="env WINEDEBUG=-all wine")

test-asan:                                  ## the core under AddressSanitizer and UBSan
	$(call TIER,asan,$(firstword $(CC)),$(ASAN))

test-cli-asan:                              ## the command lines under ASan and UBSan
	$(call TIER,asan,$(firstword $(CC)),$(ASAN),test-cli)

test-tsan:                                  ## the threaded tests under ThreadSanitizer
	$(call TIER,tsan,$(firstword $(CC)),CFLAGS="-g -O1 -fsanitize=thread" \
	    TESTS="posio thread_pool chunk_cache ewf_read qcow2_read vmdk_read vhdx_read \
	        mft_scan $(if $(ZSTD),zstd_par zstd_blocks hexz_pack)")

test-valgrind:                              ## the parsing tests under valgrind
	$(call TIER,valgrind,valgrind,CFLAGS="-g -O1" $(SLOW) \
	    TESTS="deflate_read ewf_read qcow2_read vmdk_read" \
	    RUNNER="valgrind -q --error-exitcode=9 --leak-check=full --fair-sched=yes")

test-plugged:                               ## libdeflate and OpenSSL in place of our own codecs
ifeq ($(call HAVE,libdeflate libcrypto),yes)
	$(call TIER,plugged,pkg-config,TESTS="deflate_read digest" \
	    CPPFLAGS="-DPLUG_LIBDEFLATE -DTEST_PEERS" LDLIBS="-ldeflate -lcrypto")
else
	@tests/run.sh "echo SKIP plugged: libdeflate and libcrypto are not installed"
endif

comma = ,

# ------------------------------------------------------------------ fuzzing, benches

fuzz: $(FUZZERS:%=$(BUILD)/fuzz/fuzz_%) $(BUILD)/fuzz/make_seeds ## fuzz each parser for SECONDS_PER_TARGET
	@for f in $(FUZZERS); do \
	    mkdir -p $(BUILD)/fuzz/corpus/$$f && \
	    $(BUILD)/fuzz/make_seeds $$f $(BUILD)/fuzz/corpus/$$f && \
	    $(BUILD)/fuzz/fuzz_$$f -max_total_time=$(SECONDS_PER_TARGET) -timeout=10 \
	        -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 $(BUILD)/fuzz/corpus/$$f || exit 1; \
	done

$(BUILD)/bench/bench_%: bench/bench_%.c $(wildcard bench/*.h) $(FIXTURE_HEADERS) $(HEADERS)
	@mkdir -p $(@D)
	$(COMPILE) $< -o $@ $(LDFLAGS) $(LDLIBS)

$(BUILD)/bench/bench_digest: LDLIBS += $(OPENSSL) $(LIBDEFLATE) $(ZLIB) $(XXHASH)
$(BUILD)/bench/bench_deflate_read: LDLIBS += -lz $(LIBDEFLATE) $(ISAL)
$(BUILD)/bench/bench_qcow2_read $(BUILD)/bench/bench_zstd_par: LDLIBS += $(ZSTD)
$(BUILD)/bench/bench_qcow2_read $(BUILD)/bench/bench_zstd_par: | $(ZSTD_OBJECT)
$(BUILD)/bench/bench_hexz_pack: LDLIBS += $(LZ4) $(ZSTD)
$(BUILD)/bench/bench_hexz_pack: | $(ZSTD_OBJECT) $(LZ4_OBJECTS)

bench: all $(BENCHES:%=$(BUILD)/bench/bench_%) ## ours and its peers, side by side (setup-ci)
	@for b in $(BENCHES); do echo "== $$b"; $(BUILD)/bench/bench_$$b || exit 1; done

# ------------------------------------------------------------------ distribution

amalgamation:                               ## zstd and lz4 as single files, from Debian's sources
	@tools/amalgamate.sh third_party

dist: $(FORMATS:%=dist/%)                   ## one self-contained file for each format

dist/%: % tools/fold.awk LICENSE $(HEADERS)
	@mkdir -p $(@D)
	awk -f tools/fold.awk $< > $@.part && mv $@.part $@

install: all dist                           ## tools and folded headers below PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include/chunkwise
	install -m 755 $(TOOLS:%=$(BUILD)/%) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(FORMATS:%=dist/%) $(DESTDIR)$(PREFIX)/include/chunkwise

help:                                       ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{ split($$1, t, " "); printf "  %-14s %s\n", t[1], $$2 }' \
	    Makefile

clean:                                      ## remove what was built
	rm -rf build dist
