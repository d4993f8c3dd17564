# Tools of the end-to-end tests: each tests/e2e/tools/*.c is a program of its own, a client of libnbd.
e2e_tools := $(patsubst tests/e2e/tools/%.c,$(B)/tests/e2e/%,$(wildcard tests/e2e/tools/*.c))
$(B)/tests/e2e/%: $(B)/tests/e2e/tools/%.o
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(LDFLAGS) -o $@ $< -lnbd
tests: $(e2e_tools)

.PHONY: e2e
e2e: all tests
	$(Q)./tests/e2e/run
