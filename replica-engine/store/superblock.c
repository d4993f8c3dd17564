/* superblock.c - the superblock: sealing, checking. */
#include "replica-engine/store/store_internal.h"

void superblock_seal(struct disk_superblock *super)
{
	super->crc = 0;
	super->crc = store_crc(0, super, sizeof *super);
}

static bool region_fits(uint64_t offset, uint64_t bytes, uint64_t end)
{
	return offset % PAGE_BYTES == 0 && bytes % PAGE_BYTES == 0 && offset <= end &&
	       bytes <= end - offset;
}

const char *superblock_check(const struct disk_superblock *super, uint64_t disk_bytes)
{
	struct disk_superblock copy = *super;

	if (super->magic != SUPERBLOCK_MAGIC)
		return "no Copyhold disk (magic number)";
	copy.crc = 0;
	if (store_crc(0, &copy, sizeof copy) != super->crc)
		return "the superblock fails its checksum";
	if (super->format_version != STORE_FORMAT_VERSION)
		return "a format version that this program doesn't know";
	if (super->block_bytes != BLOCK_BYTES || super->unit_bytes != UNIT_BYTES)
		return "block or unit size not known";
	if (super->size_bytes > disk_bytes)
		return "the disk is smaller than when it was formatted";
	if (super->size_bytes < 2 * sizeof *super || super->unit_count == 0 ||
	    super->unit_count >= PLACE_NONE || super->metadata_bytes / PAGE_BYTES >= SLOT_NONE ||
	    super->journal_bytes < JOURNAL_BYTES_MIN || super->checkpoint_offset < sizeof *super ||
	    !region_fits(super->checkpoint_offset, 2 * CHECKPOINT_BYTES, super->journal_offset) ||
	    !region_fits(super->journal_offset, super->journal_bytes, super->metadata_offset) ||
	    !region_fits(super->metadata_offset, super->metadata_bytes, super->data_offset) ||
	    !region_fits(super->data_offset, super->unit_count * UNIT_BYTES,
			 super->size_bytes - sizeof *super))
		return "the superblock's regions overlap or lie outside of the disk";
	return NULL;
}
