# Copyhold's build. Adding a .c file to a module's folder, or tests/unit/<module>/test_*.c, needs no change here.
#
#   make                 everything, into build/ (SAN= and CC= choose the variant's folder)
#   make check           unit tests            make check-san     the same under ASan and UBSan
#   make sim             build/sim             make format        clang-format in place
#   V=1 shows commands.

CC ?= gcc
SAN ?=
PKGS := libev liburing libprotobuf-c sqlite3 libisal jansson inih uuid blkid

variant := $(if $(SAN),-$(SAN),)$(if $(findstring clang,$(CC)),-clang,)
B := build$(if $(variant),/variant$(variant),)
OPT ?= -O2
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wcast-qual -Wwrite-strings -Wundef -Wvla -Wformat=2 -Wimplicit-fallthrough -Werror
CPPFLAGS += -D_GNU_SOURCE -I. -I$(B)/gen
CFLAGS += -std=gnu11 -g $(OPT) -fno-omit-frame-pointer -fPIC -fvisibility=hidden $(WARN)
san_flags_asan := -fsanitize=address,undefined -fno-sanitize-recover=all
san_flags_tsan := -fsanitize=thread
san_flags_cov := --coverage
CFLAGS += $(san_flags_$(SAN))
LDFLAGS += $(san_flags_$(SAN))

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))
pkg_libs = $(shell pkg-config --libs $(1) 2>/dev/null)

# libev ships no pkg-config file on Debian; ISA-L's is libisal.
LIBS_base := $(call pkg_libs,libisal)

# Every module is a folder; its objects go into one archive. Order: users before what they use.
MODULES := nbd-plugin meta-service/metad meta-service/ctl meta-service/store meta-service/core \
	replica-engine/chunkd replica-engine/engine replica-engine/store replica-engine/core \
	proto common/io-ev common/io-uring common/trace common/base

src = $(filter-out %/main.c,$(wildcard $(1)/*.c))
objs = $(patsubst %.c,$(B)/%.o,$(call src,$(1)))
archive = $(B)/lib/$(subst /,-,$(1)).a
ALL_ARCHIVES := $(foreach m,$(MODULES),$(if $(call src,$(m)),$(call archive,$(m))))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

PROGRAMS :=
define module_rule
$(call archive,$(1)): $(call objs,$(1))
	$$(call say,AR,$$@)
	$$(Q)mkdir -p $$(@D) && rm -f $$@ && $$(AR) rcs $$@ $$^
endef
$(foreach m,$(MODULES),$(eval $(call module_rule,$(m))))

# protobuf-c
$(B)/gen/proto/%.pb-c.h $(B)/gen/proto/%.pb-c.c &: proto/%.proto
	$(call say,PROTO,$<)
	$(Q)mkdir -p $(B)/gen && protoc-c --c_out=$(B)/gen $<
$(B)/gen/%.o: $(B)/gen/%.c
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(filter-out $(WARN),$(CFLAGS)) -MMD -MP -c -o $@ $<
protos := $(patsubst proto/%.proto,$(B)/gen/proto/%.pb-c.o,$(wildcard proto/*.proto))
$(call archive,proto): $(protos)
$(call objs,proto): $(protos:.o=.h)

$(B)/%.o: %.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) $(CFLAGS_$(subst /,_,$(<D))) -MMD -MP -c -o $@ $<

LIBS_all := -lev -luring -lprotobuf-c -lsqlite3 -lisal -ljansson -linih -lpthread -lm

# program NAME MODULE-WITH-main.c MODULES-THAT-IT-LINKS
have = $(foreach m,$(1),$(if $(call src,$(m)),$(call archive,$(m))))
define program_rule
ifneq ($(wildcard $(2)/main.c),)
PROGRAMS += $(B)/$(1)
$(B)/$(1): $(B)/$(2)/main.o $(call have,$(3))
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$< -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $(4)
endif
endef
common_all := common/io-ev common/io-uring common/trace common/base proto
$(eval $(call program_rule,copyhold-metad,meta-service/metad,meta-service/metad meta-service/store meta-service/core $(common_all),$(LIBS_all)))
$(eval $(call program_rule,copyhold-chunkd,replica-engine/chunkd,replica-engine/chunkd replica-engine/engine replica-engine/store replica-engine/core $(common_all),$(LIBS_all) -lblkid))
$(eval $(call program_rule,copyhold,meta-service/ctl,meta-service/ctl $(common_all),$(LIBS_all) -lnbd -lnl-genl-3 -lnl-3))

CFLAGS_meta-service_ctl := -I/usr/include/libnl3

# The nbdkit plugin
ifneq ($(call src,nbd-plugin),)
PROGRAMS += $(B)/nbdkit-copyhold-plugin.so
$(B)/nbdkit-copyhold-plugin.so: $(call have,nbd-plugin replica-engine/engine replica-engine/core $(common_all))
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -shared -o $@ -Wl,--whole-archive $(filter %/nbd-plugin.a,$^) -Wl,--no-whole-archive \
		-Wl,--start-group $(filter-out %/nbd-plugin.a,$(filter %.a,$^)) -Wl,--end-group $(LIBS_all)
endif

# Unit tests: each tests/unit/**/test_*.c is a program of its own, linked with everything it asks for.
TESTS := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/unit/*/test_*.c tests/unit/*/*/test_*.c))
# What tests share is an archive too: a test gets only what it asks for, so that it may put a fake in the place of a module.
test_lib := $(B)/lib/tests-lib.a
$(test_lib): $(patsubst %.c,$(B)/%.o,$(wildcard tests/lib/*.c))
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D) && rm -f $@ && $(AR) rcs $@ $^
$(B)/tests/unit/%: $(B)/tests/unit/%.o $(test_lib) $(filter-out %/nbd-plugin.a,$(ALL_ARCHIVES))
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
		$(LIBS_all) -lnbd -lnl-genl-3 -lnl-3 $(shell pkg-config --libs check 2>/dev/null)

# The simulator: the same objects, other seams.
sim_objs := $(patsubst %.c,$(B)/%.o,$(wildcard tests/sim/*.c))
ifneq ($(sim_objs),)
PROGRAMS += $(B)/sim
sim_archives := $(call have,meta-service/metad meta-service/core replica-engine/chunkd replica-engine/engine replica-engine/store replica-engine/core proto common/trace common/base)
$(B)/sim: $(sim_objs) $(sim_archives)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(sim_objs) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS_all)
endif
.PHONY: sim
sim: $(B)/sim

.PHONY: all tests check check-san check-tsan clean format format-check include-check compile_commands.json
all: $(PROGRAMS)
tests: $(TESTS)
check: $(TESTS)
	$(Q)./tests/lib/run-unit $(TESTS)
check-san:
	$(Q)$(MAKE) SAN=asan OPT=-O1 check
check-tsan:
	$(Q)$(MAKE) SAN=tsan OPT=-O1 check

SOURCES = $(shell git ls-files '*.c' '*.h')
format:
	clang-format -i $(SOURCES)
format-check:
	$(Q)clang-format --dry-run -Werror $(SOURCES)
include-check:
	$(Q)./scripts/include-check
compile_commands.json:
	$(Q)./scripts/compile-commands > $@
clean:
	rm -rf build compile_commands.json

prefix ?= /usr
plugindir ?= $(shell pkg-config --variable=plugindir nbdkit 2>/dev/null)
.PHONY: install
install: all
	install -D -m 755 -t $(DESTDIR)$(prefix)/bin $(filter $(B)/copyhold%,$(PROGRAMS))
	install -D -m 755 -t $(DESTDIR)$(plugindir) $(B)/nbdkit-copyhold-plugin.so
	install -D -m 644 -t $(DESTDIR)$(prefix)/share/man/man1 docs/man/*.1
	install -D -m 644 -t $(DESTDIR)$(prefix)/share/bash-completion/completions scripts/completion/copyhold
	install -D -m 644 -t $(DESTDIR)$(prefix)/lib/systemd/system packaging/systemd/*.service

-include $(shell find $(B) -name '*.d' 2>/dev/null)
include $(wildcard tests/*/rules.mk)
