/*
 * settings.h - what can be set for a chunk server, on the command line and in the [chunkd] section of a configuration
 * file: the same names in both (power-loss-protected there is power_loss_protected here). The command line wins.
 */
#ifndef COPYHOLD_CHUNKD_SETTINGS_H
#define COPYHOLD_CHUNKD_SETTINGS_H

#include "common/base/base.h"

#define SETTINGS_LISTEN_DEFAULT "127.0.0.1:7710"
#define SETTINGS_META_DEFAULT   "127.0.0.1:7700"

enum {
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
};

/* Strings are NULL where nothing was set; all are allocated. */
struct settings {
	char *data, *listen, *advertise, *local, *meta;
	char *host, *zone, *rack, *node;
	uint64_t memory_limit_bytes, metadata_memory_bytes;
	bool power_loss_protected;
};

/* Prints "copyhold-chunkd: ..." to standard error and exits. */
void fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

/* "10G", "512M", "65536": bytes, in powers of 1024. False if text is no such size, or 0. */
bool parse_size(const char *text, uint64_t *bytes);

/* Arguments of `run`; exits on a mistake. What was not set has its default afterwards. */
void settings_parse(int argc, char **argv, const char *usage, struct settings *settings);
void settings_free(struct settings *settings);

#endif
