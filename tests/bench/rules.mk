# make bench-store: the store beside fio on one file (BENCH_DIR, BENCH_SECONDS, BENCH_GIB; BENCH_LOADS: only these, in this order, also several times).
BENCH_DIR ?= .
BENCH_SECONDS ?= 20
BENCH_GIB ?= 2
$(B)/tests/bench/bench_store: $(B)/tests/bench/bench_store.o $(call have,replica-engine/store common/io-uring common/trace common/base)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS_all)

$(B)/tests/bench/bench_start: $(B)/tests/bench/bench_start.o $(call have,replica-engine/store common/io-uring common/trace common/base)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS_all)

# make bench-start: how long a store with BENCH_START_GIB in use (synthetic, its data dropped) takes to start, and its memory; then the same
# with metadata_memory of BENCH_START_MIB.
BENCH_START_GIB ?= 1024
BENCH_START_MIB ?= 64
.PHONY: bench-store bench-start
bench-start: $(B)/tests/bench/bench_start
	$(Q)for mib in 0 $(BENCH_START_MIB); do \
		$< $(BENCH_DIR)/bench-start.disk $(BENCH_START_GIB) $$mib; status=$$?; \
		rm -f $(BENCH_DIR)/bench-start.disk; [ $$status = 0 ] || exit $$status; done
bench-store: $(B)/tests/bench/bench_store
	$(Q)tests/bench/bench-store.sh $< $(BENCH_DIR) $(BENCH_SECONDS) $(BENCH_GIB) $(BENCH_LOADS)

# make bench: Copyhold beside quorum3-unix and floor.c on this machine, in turn (tests/bench/bench.sh says what can be set).
# make bench-peers: Ceph as well (packages ceph-mon ceph-mgr ceph-osd ceph-common qemu-block-extra).
.PHONY: bench bench-peers
bench: all
	$(Q)BUILD=$(B) OUT=$(B)/bench ./tests/bench/bench.sh quorum3-unix
bench-peers: all
	$(Q)BUILD=$(B) OUT=$(B)/bench ./tests/bench/bench.sh quorum3-unix nbdkit-mem ceph

# make bench-long: ten minutes (SECONDS_LONG) of random writes, the slowest second beside the median.
# make bench-limits: 100 idle volumes, attaching 10 TiB, memory of an idle 1 TiB volume (package python3-libnbd).
.PHONY: bench-long bench-limits
bench-long: all
	$(Q)BUILD=$(B) OUT=$(B)/bench ./tests/bench/long.sh
bench-limits: all
	$(Q)BUILD=$(B) ./tests/bench/limits.sh
