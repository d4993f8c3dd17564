# Fuzzing (libFuzzer, so clang whatever CC is). Inputs that once broke something stay in tests/fuzz/corpus for ever.
#
#   make fuzz FUZZ_SECONDS=60    each target for so long, from the seeds and what earlier runs found (build/fuzz)
#   make check-fuzz              each target once over the corpus in the tree
#   make fuzz-seeds              writes the seed corpora anew, after a change of the messages

FUZZ_SECONDS ?= 60
FUZZ_TARGETS := codec frame store superblock journal metadata
fuzz_make = $(MAKE) --no-print-directory CC=clang SAN=fuzz OPT=-O1
fuzz_build := build/variant-fuzz-clang/tests/fuzz
fuzz_limits := -rss_limit_mb=1024 -timeout=20 -print_final_stats=0

san_flags_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

fuzz_lib := $(B)/tests/lib/random_msg.o $(B)/tests/lib/msg_compare.o \
	$(B)/lib/proto.a $(B)/lib/common-base.a
$(B)/tests/fuzz/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(fuzz_lib)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ -lprotobuf-c $(LIBS_base)
$(B)/tests/fuzz/make_seeds: $(B)/tests/fuzz/make_seeds.o $(fuzz_lib)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lprotobuf-c $(LIBS_base)

# The store's own checksums are left out (fuzz_store.c has them): what is looked for lies behind them.
fuzz_store_lib := $(B)/tests/lib/mem_disk.o $(B)/tests/lib/store_driver.o \
	$(B)/lib/replica-engine-store.a $(B)/lib/common-trace.a $(B)/lib/common-base.a
$(addprefix $(B)/tests/fuzz/fuzz_,store superblock journal metadata): $(B)/tests/fuzz/fuzz_store.o $(fuzz_store_lib)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS_base)

.PHONY: fuzz check-fuzz fuzz-seeds fuzz-programs
fuzz-programs:
	$(Q)$(fuzz_make) $(addprefix $(fuzz_build)/fuzz_,$(FUZZ_TARGETS))
check-fuzz: fuzz-programs
	$(Q)for target in $(FUZZ_TARGETS); do \
		$(fuzz_build)/fuzz_$$target $(fuzz_limits) -runs=0 tests/fuzz/corpus/$$target \
			>build/fuzz-$$target.log 2>&1 || { cat build/fuzz-$$target.log; exit 1; }; \
		printf 'ok   fuzz %s (%d inputs)\n' $$target "$$(ls tests/fuzz/corpus/$$target | wc -l)"; \
	done
fuzz: fuzz-programs
	$(Q)for target in $(FUZZ_TARGETS); do \
		mkdir -p build/fuzz/$$target build/fuzz/found; \
		$(fuzz_build)/fuzz_$$target $(fuzz_limits) -max_total_time=$(FUZZ_SECONDS) -max_len=65536 \
			-artifact_prefix=build/fuzz/found/$$target- \
			build/fuzz/$$target tests/fuzz/corpus/$$target || exit 1; \
	done
fuzz-seeds: $(B)/tests/fuzz/make_seeds
	$(Q)mkdir -p tests/fuzz/corpus/codec tests/fuzz/corpus/frame
	$(Q)$< tests/fuzz/corpus
