# make check-crash: the power is cut behind every event of recorded workloads (CRASH_WORKLOADS, CRASH_SEED, CRASH_STATES, CRASH_JOBS).
CRASH_WORKLOADS ?= 200
CRASH_SEED ?= 1
CRASH_STATES ?= 1000000
CRASH_JOBS ?= 2
crash_lib := $(addprefix $(B)/tests/lib/,mem_disk.o store_driver.o store_model.o store_crash.o)
$(B)/tests/crash/check_crash: $(B)/tests/crash/check_crash.o $(crash_lib) $(call have,replica-engine/store common/trace common/base)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS_base)

.PHONY: check-crash
check-crash: $(B)/tests/crash/check_crash
	$(Q)$< $(CRASH_WORKLOADS) $(CRASH_SEED) $(CRASH_STATES) $(CRASH_JOBS)
