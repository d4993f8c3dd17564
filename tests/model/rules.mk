# The Spin model of the protocol, a search after another.
#
#   make model           all of it: half an hour; ONLY=base or ONLY=mutations for a part
#   make check-model     without the long searches: part of scripts/check
.PHONY: model check-model
model:
	$(Q)nice -n 10 sh tests/model/run.sh $(SECONDS_OF_SEARCH)
check-model:
	$(Q)QUICK=1 sh tests/model/run.sh 20
