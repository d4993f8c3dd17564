/* disk_log.c - see disk_log.h. */
#include "tests/e2e/tools/disk_log.h"

#include "tests/lib/mem_disk.h"

#include <stdio.h>
#include <stdlib.h>

static void damaged(const char *path)
{
	fprintf(stderr, "%s is no log of a disk, or ends too early\n", path);
	exit(2);
}

static void add(struct disk_log *log, const struct disk_log_record *record)
{
	if (log->count == log->room) {
		log->room = MAX((size_t)1024, 2 * log->room);
		log->records = xrealloc(log->records, log->room * sizeof *log->records);
	}
	log->records[log->count++] = *record;
}

void disk_log_read(const char *path, struct disk_log *log)
{
	FILE *file = fopen(path, "re");
	struct disk_log_record record;
	uint8_t *data = NULL;

	*log = (struct disk_log){0};
	if (!file || fread(&record, sizeof record, 1, file) != 1 || record.kind != DISK_LOG_SIZE)
		damaged(path);
	log->disk = mem_disk_new(record.offset, 0);
	mem_disk_record(log->disk);
	while (fread(&record, sizeof record, 1, file) == 1) {
		add(log, &record);
		if (record.kind == DISK_LOG_FLUSH) {
			mem_disk_log_sync(log->disk);
			log->flushes++;
			continue;
		}
		data = xrealloc(data, MAX(1u, record.bytes));
		if (record.kind != DISK_LOG_WRITE ||
		    fread(data, 1, record.bytes, file) != record.bytes)
			damaged(path);
		mem_disk_log_write(log->disk, record.offset, data, record.bytes);
		log->writes++;
	}
	free(data);
	fclose(file);
}

void disk_log_free(struct disk_log *log)
{
	mem_disk_free(log->disk);
	free(log->records);
}

uint64_t disk_log_until(const struct disk_log *log, size_t count)
{
	return count < log->count ? log->records[count].time_ns : UINT64_MAX;
}

size_t disk_log_count_at(const struct disk_log *log, uint64_t time_ns)
{
	size_t count = 0;

	while (count < log->count && log->records[count].time_ns < time_ns)
		count++;
	return count;
}

void disk_log_move(struct mem_cutter *cutter, size_t count)
{
	/* Each record is two events, its beginning and its end. */
	mem_cutter_move(cutter, 2 * count);
}
