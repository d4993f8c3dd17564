/*
 * content.c - what a file or device holds already. libblkid names what it knows of filesystems, partition tables, volume managers, RAID
 * and encryption, wherever their marks lie; disks of Copyhold and anything that isn't zero at either end are found here.
 */
#include "replica-engine/chunkd/command.h"
#include "replica-engine/store/layout.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Where most leave their marks. */
#define LOOK_BYTES (128 * KIB)

static bool all_zero(const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i])
			return false;
	return true;
}

static bool say_copyhold(const void *at, char *text, size_t text_bytes)
{
	const struct disk_superblock *s = at;
	char id[UUID_TEXT_BYTES];
	struct uuid disk;

	if (s->magic != SUPERBLOCK_MAGIC)
		return false;
	memcpy(disk.bytes, s->disk, sizeof disk.bytes);
	uuid_format(disk, id);
	if (s->cid)
		snprintf(text, text_bytes, "is the disk %s of Copyhold, of chunk server %u", id,
			 s->cid);
	else
		snprintf(text, text_bytes, "is the disk %s of Copyhold, not used yet", id);
	return true;
}

static const char *value(blkid_probe probe, const char *name)
{
	const char *text;

	return blkid_probe_lookup_value(probe, name, &text, NULL) == 0 ? text : NULL;
}

static bool look_with_blkid(int fd, char *text, size_t text_bytes)
{
	blkid_probe probe = blkid_new_probe();
	const char *type, *label, *table;
	int rc;

	if (!probe || blkid_probe_set_device(probe, fd, 0, 0) != 0) {
		blkid_free_probe(probe);
		return false;
	}
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL);
	blkid_probe_enable_partitions(probe, 1);
	rc = blkid_do_safeprobe(probe);
	type = value(probe, "TYPE");
	label = value(probe, "LABEL");
	table = value(probe, "PTTYPE");
	if (rc == -2)
		snprintf(text, text_bytes, "holds the marks of several filesystems or the like");
	else if (type && label)
		snprintf(text, text_bytes, "holds %s \"%s\"", type, label);
	else if (type)
		snprintf(text, text_bytes, "holds %s", type);
	else if (table)
		snprintf(text, text_bytes, "holds a partition table (%s)", table);
	blkid_free_probe(probe);
	return rc == -2 || type || table;
}

static bool look(int fd, uint64_t size, const uint8_t *first, const uint8_t *last, size_t bytes,
		 char *text, size_t text_bytes)
{
	uint64_t end = ROUND_DOWN(size, BLOCK_BYTES);

	if (size >= 2 * PAGE_BYTES &&
	    (say_copyhold(first, text, text_bytes) ||
	     say_copyhold(last + bytes - (size - end) - PAGE_BYTES, text, text_bytes)))
		return true;
	if (look_with_blkid(fd, text, text_bytes))
		return true;
	if (all_zero(first, bytes) && all_zero(last, bytes))
		return false;
	snprintf(text, text_bytes, "holds data at its %s",
		 all_zero(first, bytes) ? "end" : "beginning");
	return true;
}

int find_content(int fd, uint64_t size, char *text, size_t text_bytes)
{
	size_t bytes = (size_t)MIN(size, LOOK_BYTES);
	uint8_t *first = xcalloc(1, LOOK_BYTES), *last = xcalloc(1, LOOK_BYTES);
	int found;

	errno = 0;
	if (pread(fd, first, bytes, 0) != (ssize_t)bytes ||
	    pread(fd, last, bytes, (off_t)(size - bytes)) != (ssize_t)bytes)
		found = errno ? -errno : -EIO;
	else
		found = look(fd, size, first, last, bytes, text, text_bytes);
	free(first);
	free(last);
	return found;
}
