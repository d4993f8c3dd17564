# Tools of the end-to-end tests: clients of libnbd, a plugin for nbdkit, and a program that knows the store.
e2e_tools := $(addprefix $(B)/tests/e2e/,nbd-journal power-cut nbdkit-disk-log-plugin.so)
e2e_obj = $(patsubst %,$(B)/tests/e2e/tools/%.o,$(1))
$(B)/tests/e2e/nbd-journal: $(call e2e_obj,nbd-journal journal)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(LDFLAGS) -o $@ $^ -lnbd
$(B)/tests/e2e/power-cut: $(call e2e_obj,power-cut disk_log journal) $(addprefix $(B)/tests/lib/,mem_disk.o store_driver.o) \
		$(call have,replica-engine/store common/trace common/base)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS_base)
$(B)/tests/e2e/nbdkit-disk-log-plugin.so: $(call e2e_obj,nbdkit-disk-log-plugin)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(LDFLAGS) -shared -o $@ $^
tests: $(e2e_tools)

.PHONY: e2e
e2e: all tests
	$(Q)./tests/e2e/run
