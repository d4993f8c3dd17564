# The simulator. docs/TESTING.md says what each of these shows.
#
#   make check-sim                     the checkers' own tests, all scenarios, determinism, a fixed block of seeds
#   make soak SECONDS=n [JOBS=n] [FIRST=seed]   fresh seeds; failing ones are kept in build/soak-failures
#   make sim-mutants                   builds each planted bug and hunts it
#   make sim-coverage                  lines and branches of cores and store that the simulator reaches
.PHONY: check-sim soak sim-mutants sim-coverage
check-sim: $(B)/sim
	$(Q)./tests/sim/check $(B)/sim
soak: $(B)/sim
	$(Q)./tests/sim/soak $(B)/sim $(or $(SECONDS),60) $(or $(JOBS),1) $(FIRST)
sim-mutants:
	$(Q)./tests/sim/mutants $(MUTANT)
sim-coverage:
	$(Q)./tests/sim/coverage $(SEEDS)
