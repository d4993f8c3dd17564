# The simulator. docs/TESTING.md says what each of these shows.
#
#   make check-sim                     the checkers' own tests, all scenarios, determinism, a fixed block of seeds
#   make soak SECONDS=n [JOBS=n] [FIRST=seed]   fresh seeds; failing ones are kept in build/soak-failures
#   make sim-mutants                   hunts each planted bug with random seeds (MUTANT="name ..." SEEDS=n SLICE=seconds)
#   make check-mutants                 each planted bug breaks the scenarios that are named for it
#   make sim-coverage                  lines and branches of cores and store that the simulator reaches (SEEDS=n MISSED=1)
.PHONY: check-sim soak sim-mutants check-mutants sim-coverage
check-sim: $(B)/sim
	$(Q)./tests/sim/check $(B)/sim
soak: $(B)/sim
	$(Q)./tests/sim/soak $(B)/sim $(or $(SECONDS),60) $(or $(JOBS),1) $(FIRST)
sim-mutants:
	$(Q)./tests/sim/mutants hunt $(MUTANT)
check-mutants:
	$(Q)./tests/sim/mutants stories $(MUTANT)
sim-coverage:
	$(Q)./tests/sim/coverage $(SEEDS)

# How the simulator is built, for those who build it with a changed file.
.PHONY: sim-compile-command sim-link-command sim-link-rest
sim-compile-command:
	@echo $(CC) $(CPPFLAGS) $(filter-out $(WARN),$(CFLAGS)) -c
sim-link-command:
	@echo $(CC) $(LDFLAGS)
sim-link-rest:
	@echo $(sim_objs) -Wl,--start-group $(sim_archives) -Wl,--end-group $(LIBS_all)
