# Scenarios with a real kernel (tests/vm/run). check-vm is the short set for every change, check-vm-full all of them.
VM_SHORT := full crash-nbdkit
VM_ALL := $(sort $(basename $(notdir $(wildcard tests/vm/scenarios/*.sh))))

.PHONY: check-vm check-vm-full
check-vm: all
	$(Q)./tests/vm/run $(VM_SHORT)
check-vm-full: all
	$(Q)./tests/vm/run $(VM_ALL)
