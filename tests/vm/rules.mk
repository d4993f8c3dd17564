# Scenarios with a real kernel (tests/vm/run). check-vm is the short set for every change, check-vm-full all of them.
VM_SHORT := full crash-nbdkit
VM_ALL := $(sort $(basename $(notdir $(wildcard tests/vm/scenarios/*.sh))))

# Attaches stock nbdkit plugins with our code.
CFLAGS_tests_vm := -I/usr/include/libnl3
$(B)/tests/vm/attach-stock: $(B)/tests/vm/attach_stock.o $(call have,meta-service/ctl $(common_all))
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS_all) -lnbd -lnl-genl-3 -lnl-3
vm-programs: $(filter-out $(B)/sim,$(PROGRAMS)) $(B)/tests/vm/attach-stock

.PHONY: vm-programs check-vm check-vm-full check-units
check-vm: vm-programs
	$(Q)./tests/vm/run $(VM_SHORT)
check-vm-full: vm-programs
	$(Q)./tests/vm/run $(VM_ALL)
# The systemd units.
check-units: vm-programs
	$(Q)./tests/vm/check-units
