/* command.h - the subcommands of copyhold-chunkd. Each takes its arguments from its own name on and returns the exit status. */
#ifndef COPYHOLD_CHUNKD_COMMAND_H
#define COPYHOLD_CHUNKD_COMMAND_H

#include "replica-engine/chunkd/settings.h"
#include "replica-engine/store/store.h"

struct ev_loop;

extern const char usage_text[];

int command_run(int argc, char **argv);
int command_format(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_fsck(int argc, char **argv);

#define CONTENT_TEXT_BYTES 256
/*
 * What a file or device of so many bytes holds: 1 and, in text, "holds ext4" and the like; 0: nothing that could be found; or a
 * negative errno.
 */
int find_content(int fd, uint64_t size, char *text, size_t text_bytes);
/* Exits with a message if a disk is too small to hold anything. */
void require_disk_size(const struct io_disk *disk, const char *path);
/* What to do about a status of store_open. */
const char *open_remedy(int status);
/* Opens the store on a disk, running the loop until it is open. Exits with a message if it can't be. */
struct store *open_store(struct ev_loop *loop, struct io_disk *disk, const char *path,
			 const struct store_options *options);
/* Closes it in order, running the loop; 0 or a negative errno. Frees it. */
int close_store(struct ev_loop *loop, struct store *store);

#endif
