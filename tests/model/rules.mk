# The Spin model of the protocol: all searches, one after another. Takes an hour; ONLY=base or ONLY=mutations for a part.
.PHONY: model
model:
	$(Q)nice -n 10 sh tests/model/run.sh $(SECONDS_OF_SEARCH)
