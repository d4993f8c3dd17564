/* registers.c - see registers.h. */
#include "tests/sim/registers.h"

#include <errno.h>
#include <stdlib.h>

#define NO_SECTOR UINT64_MAX
/* Of a sector that holds data, whatever it is. */
#define NO_STAMP UINT32_MAX
/* Orders writes: attachment above, arrival below. Key 0: the volume as it was made, zeros. */
#define KEY(attachment, number) ((uint64_t)(attachment) << 32 | (number))

enum outcome {
	PENDING,
	ACKNOWLEDGED,
	FAILED,
};

struct write_record {
	uint32_t attachment, stamp;
	uint64_t offset, bytes;
	uint64_t begun_ns, ended_ns;
	enum outcome outcome;
	int status;
};

struct entry {
	uint32_t write;
	bool dead;
};

struct sector {
	struct entry *entries; /* in the order of their keys */
	uint32_t count, room;
	uint64_t floor;
	uint32_t since; /* attachments before this one are from before a cut */
};

struct register_read {
	uint32_t attachment;
	uint64_t offset, bytes;
	uint64_t begun_ns, ended_ns;
	uint32_t writes_before; /* writes with a number up to this had begun */
	bool done, holes;       /* holes: it was asked which sectors hold data */
	int status;
	uint64_t *floors;
	uint32_t *stamps; /* what it returned */
	TAILQ_ENTRY(register_read) link;
};

struct registers {
	struct sim *sim;
	char name[32];
	uint64_t sector_count;
	uint64_t chunk_bytes;
	struct sector *sectors;
	struct write_record *writes; /* [0] unused */
	uint32_t write_count, write_room;
	uint32_t attachments, last_stamp;
	char who[1024][16];
	uint64_t sizes[1024]; /* of attachments */
	uint64_t salt;
	TAILQ_HEAD(, register_read) reads;
	uint64_t bad_sector;
};

static uint64_t key_of(const struct registers *r, uint32_t write)
{
	return KEY(r->writes[write].attachment, write);
}

struct registers *registers_new(struct sim *sim, const char *name, uint64_t bytes,
				uint64_t chunk_bytes)
{
	struct registers *r = xcalloc(1, sizeof *r);

	assert(bytes % SECTOR_BYTES == 0);
	r->sim = sim;
	r->sector_count = bytes / SECTOR_BYTES;
	r->chunk_bytes = chunk_bytes;
	r->sectors = xcalloc(r->sector_count, sizeof *r->sectors);
	r->bad_sector = NO_SECTOR;
	snprintf(r->name, sizeof r->name, "%s", name);
	for (const char *p = name; *p; p++)
		r->salt = mix64(r->salt ^ (unsigned char)*p);
	TAILQ_INIT(&r->reads);
	return r;
}

static void read_free(struct registers *r, struct register_read *read)
{
	TAILQ_REMOVE(&r->reads, read, link);
	free(read->floors);
	free(read->stamps);
	free(read);
}

void registers_free(struct registers *r)
{
	struct register_read *read;

	if (!r)
		return;
	while ((read = TAILQ_FIRST(&r->reads)))
		read_free(r, read);
	for (uint64_t i = 0; i < r->sector_count; i++)
		free(r->sectors[i].entries);
	free(r->sectors);
	free(r->writes);
	free(r);
}

uint32_t registers_attach(struct registers *r, const char *who, uint64_t bytes)
{
	r->attachments++;
	r->sizes[r->attachments % ARRAY_SIZE(r->sizes)] = bytes;
	snprintf(r->who[r->attachments % ARRAY_SIZE(r->who)], sizeof r->who[0], "%s", who);
	return r->attachments;
}

uint32_t registers_attachments(const struct registers *r)
{
	return r->attachments;
}

void registers_grow(struct registers *r, uint64_t bytes)
{
	uint64_t count = bytes / SECTOR_BYTES;

	if (count <= r->sector_count)
		return;
	r->sectors = xrealloc(r->sectors, count * sizeof *r->sectors);
	memset(r->sectors + r->sector_count, 0, (count - r->sector_count) * sizeof *r->sectors);
	r->sector_count = count;
}

void registers_cut(struct registers *r, uint64_t bytes, uint32_t before)
{
	for (uint32_t a = before + 1; a <= r->attachments; a++) {
		if (r->sizes[a % ARRAY_SIZE(r->sizes)] > bytes)
			before = a;
	}
	for (uint64_t i = bytes / SECTOR_BYTES; i < r->sector_count; i++) {
		r->sectors[i].count = 0;
		r->sectors[i].floor = 0;
		r->sectors[i].since = before + 1;
	}
}

uint32_t registers_stamp(struct registers *r)
{
	return ++r->last_stamp;
}

uint64_t registers_sectors(const struct registers *r)
{
	return r->sector_count;
}

uint32_t registers_writes(const struct registers *r)
{
	return r->write_count;
}

/* ---- content ---- */

static void fill_sector(const struct registers *r, uint32_t stamp, uint64_t sector,
			uint64_t words[64])
{
	uint64_t x = mix64(r->salt ^ ((uint64_t)stamp << 32 | (uint32_t)sector)) | 1;

	if (stamp == 0) {
		memset(words, 0, SECTOR_BYTES);
		return;
	}
	words[0] = stamp;
	for (unsigned i = 1; i < 64; i++)
		words[i] = x * (2 * i + 1);
}

void registers_fill(const struct registers *r, uint32_t stamp, uint64_t offset, uint64_t bytes,
		    uint8_t *to)
{
	uint64_t words[64];

	for (uint64_t at = 0; at < bytes; at += SECTOR_BYTES) {
		fill_sector(r, stamp, (offset + at) / SECTOR_BYTES, words);
		memcpy(to + at, words, SECTOR_BYTES);
	}
}

/* The stamp of a sector's bytes; false if they are those of no stamp at this place. */
static bool stamp_of(const struct registers *r, uint64_t sector, const uint8_t *data,
		     uint32_t *stamp)
{
	uint64_t words[64], first;

	memcpy(&first, data, sizeof first);
	*stamp = (uint32_t)first;
	if (first > r->last_stamp)
		return false;
	fill_sector(r, *stamp, sector, words);
	return memcmp(words, data, SECTOR_BYTES) == 0;
}

/* ---- failures ---- */

static uint64_t bytes_of(uint64_t sector)
{
	return sector * SECTOR_BYTES;
}

static void fail_sector(struct registers *r, const char *rule, uint64_t sector, const char *what,
			uint32_t stamp)
{
	if (r->sim->failed)
		return;
	r->bad_sector = sector;
	sim_fail(r->sim, rule, 0,
		 "volume %s, sector %llu (chunk index %llu, offset %llu): %s (stamp %u)", r->name,
		 (unsigned long long)sector,
		 (unsigned long long)(bytes_of(sector) / r->chunk_bytes),
		 (unsigned long long)(bytes_of(sector) % r->chunk_bytes), what, stamp);
}

/* ---- writes ---- */

static void sector_insert(struct registers *r, struct sector *s, uint32_t write)
{
	uint32_t i;

	if (s->count == s->room) {
		s->room = MAX(4u, s->room * 2);
		s->entries = xrealloc(s->entries, s->room * sizeof *s->entries);
	}
	for (i = s->count++; i > 0 && key_of(r, s->entries[i - 1].write) > key_of(r, write); i--)
		s->entries[i] = s->entries[i - 1];
	s->entries[i] = (struct entry){.write = write};
}

uint32_t registers_write(struct registers *r, uint32_t attachment, uint64_t offset, uint64_t bytes,
			 uint32_t stamp)
{
	uint32_t number = ++r->write_count;

	assert(offset % SECTOR_BYTES == 0 && bytes % SECTOR_BYTES == 0 && bytes > 0);
	assert((offset + bytes) / SECTOR_BYTES <= r->sector_count);
	if (number >= r->write_room) {
		r->write_room = MAX(256u, r->write_room * 2);
		r->writes = xrealloc(r->writes, r->write_room * sizeof *r->writes);
	}
	r->writes[number] = (struct write_record){.attachment = attachment,
						  .stamp = stamp,
						  .offset = offset,
						  .bytes = bytes,
						  .begun_ns = r->sim->now_ns};
	for (uint64_t s = offset / SECTOR_BYTES; s < (offset + bytes) / SECTOR_BYTES; s++) {
		if (attachment >= r->sectors[s].since)
			sector_insert(r, &r->sectors[s], number);
	}
	return number;
}

static struct entry *entry_of(struct sector *s, uint32_t write)
{
	for (uint32_t i = s->count; i-- > 0;) {
		if (s->entries[i].write == write)
			return &s->entries[i];
	}
	return NULL;
}

struct matches {
	bool any;         /* at or above the floor, and not dead */
	bool below, dead; /* why others are no match */
	uint64_t lowest, highest;
};

static struct matches sector_match(const struct registers *r, const struct sector *s,
				   uint32_t stamp, uint64_t floor)
{
	struct matches m = {.lowest = UINT64_MAX};

	if (stamp == 0) {
		m.any = floor == 0;
		m.below = floor != 0;
		if (m.any)
			m.lowest = 0;
	}
	for (uint32_t i = 0; i < s->count; i++) {
		uint64_t key = key_of(r, s->entries[i].write);

		if (r->writes[s->entries[i].write].stamp != stamp)
			continue;
		if (s->entries[i].dead) {
			m.dead = true;
		} else if (key < floor) {
			m.below = true;
		} else {
			m.any = true;
			m.lowest = MIN(m.lowest, key);
			m.highest = MAX(m.highest, key);
		}
	}
	return m;
}

/* No engine cuts it: inside one block, or whole blocks of one chunk and not too many. */
static bool is_one_piece(const struct registers *r, const struct write_record *w)
{
	if (w->offset / BLOCK_BYTES == (w->offset + w->bytes - 1) / BLOCK_BYTES)
		return true;
	return w->offset % BLOCK_BYTES == 0 && w->bytes % BLOCK_BYTES == 0 &&
	       w->bytes <= IO_BYTES_MAX &&
	       w->offset / r->chunk_bytes == (w->offset + w->bytes - 1) / r->chunk_bytes;
}

static void write_refused(struct registers *r, uint32_t number)
{
	const struct write_record *w = &r->writes[number];

	for (uint64_t i = w->offset / SECTOR_BYTES; i < (w->offset + w->bytes) / SECTOR_BYTES;
	     i++) {
		struct sector *s = &r->sectors[i];

		if (w->attachment < s->since)
			continue;
		entry_of(s, number)->dead = true;
		if (s->floor == key_of(r, number) && !sector_match(r, s, w->stamp, s->floor).any)
			fail_sector(r, "settled writes", i,
				    "a write is refused for want of room that a read has shown",
				    w->stamp);
	}
}

void registers_write_done(struct registers *r, uint32_t number, int status)
{
	struct write_record *w = &r->writes[number];

	assert(w->outcome == PENDING);
	w->ended_ns = r->sim->now_ns;
	w->status = status;
	w->outcome = status ? FAILED : ACKNOWLEDGED;
	if (status == -ENOSPC && is_one_piece(r, w))
		write_refused(r, number);
	if (status)
		return;
	for (uint64_t i = w->offset / SECTOR_BYTES; i < (w->offset + w->bytes) / SECTOR_BYTES;
	     i++) {
		struct sector *s = &r->sectors[i];

		if (w->attachment < s->since)
			continue;
		if (entry_of(s, number)->dead)
			fail_sector(r, "settled writes", i,
				    "a write is acknowledged that a read had shown not to have "
				    "happened",
				    w->stamp);
		s->floor = MAX(s->floor, key_of(r, number));
	}
}

void registers_attachment_ended(struct registers *r, uint32_t attachment)
{
	struct register_read *read, *next;

	for (uint32_t i = 1; i <= r->write_count; i++) {
		if (r->writes[i].attachment == attachment && r->writes[i].outcome == PENDING) {
			r->writes[i].outcome = FAILED;
			r->writes[i].status = -1;
			r->writes[i].ended_ns = r->sim->now_ns;
		}
	}
	TAILQ_FOREACH_SAFE (read, &r->reads, link, next) {
		if (read->attachment == attachment && !read->done)
			read_free(r, read);
	}
}

/* ---- reads ---- */

struct register_read *registers_read(struct registers *r, uint32_t attachment, uint64_t offset,
				     uint64_t bytes)
{
	struct register_read *read = xcalloc(1, sizeof *read);
	uint64_t count = bytes / SECTOR_BYTES;

	assert(offset % SECTOR_BYTES == 0 && bytes % SECTOR_BYTES == 0 && bytes > 0);
	read->attachment = attachment;
	read->offset = offset;
	read->bytes = bytes;
	read->begun_ns = r->sim->now_ns;
	read->writes_before = r->write_count;
	read->floors = xcalloc(count, sizeof *read->floors);
	read->stamps = xcalloc(count, sizeof *read->stamps);
	for (uint64_t i = 0; i < count; i++)
		read->floors[i] = r->sectors[offset / SECTOR_BYTES + i].floor;
	TAILQ_INSERT_TAIL(&r->reads, read, link);
	return read;
}

/* Writes newer than what was seen, and over when the read began: they have not happened. */
static void mark_dead(struct registers *r, struct sector *s, const struct register_read *read,
		      uint64_t above)
{
	for (uint32_t i = s->count; i-- > 0 && key_of(r, s->entries[i].write) > above;) {
		const struct write_record *w = &r->writes[s->entries[i].write];

		if (w->outcome == ACKNOWLEDGED || s->entries[i].write > read->writes_before)
			continue;
		if (w->attachment < read->attachment ||
		    (w->outcome == FAILED && w->ended_ns <= read->begun_ns &&
		     w->attachment == read->attachment))
			s->entries[i].dead = true;
	}
}

static bool sector_check(struct registers *r, const char *rule, uint64_t sector, uint64_t floor,
			 const uint8_t *data, uint32_t *stamp, struct matches *m)
{
	if (!stamp_of(r, sector, data, stamp)) {
		fail_sector(r, rule, sector, "these bytes were never written here", *stamp);
		return false;
	}
	*m = sector_match(r, &r->sectors[sector], *stamp, floor);
	if (m->any)
		return true;
	fail_sector(r, rule, sector,
		    m->dead    ? "a write that had been shown not to have happened is back"
		    : m->below ? "older than what was acknowledged or read before"
			       : "this write was never made here",
		    *stamp);
	return false;
}

/* One sector of a read is known; false if it is wrong. */
static bool sector_read(struct registers *r, struct register_read *read, const char *rule,
			uint64_t i, const uint8_t *data)
{
	uint64_t sector = read->offset / SECTOR_BYTES + i;
	struct sector *s = &r->sectors[sector];
	struct matches m;

	if (read->attachment < s->since)
		return true;
	if (!sector_check(r, rule, sector, read->floors[i], data, &read->stamps[i], &m))
		return false;
	s->floor = MAX(s->floor, m.lowest);
	mark_dead(r, s, read, m.highest);
	return true;
}

static void read_ended(struct registers *r, struct register_read *read, int status)
{
	read->ended_ns = r->sim->now_ns;
	read->done = true;
	read->status = status;
}

static void read_checked(struct register_read *read)
{
	free(read->floors);
	read->floors = NULL;
}

void registers_read_done(struct registers *r, struct register_read *read, int status,
			 const uint8_t *data)
{
	read_ended(r, read, status);
	for (uint64_t i = 0; !status && i < read->bytes / SECTOR_BYTES; i++) {
		if (!sector_read(r, read, "linearizable sectors", i, data + i * SECTOR_BYTES))
			return;
	}
	read_checked(read);
}

void registers_holes_done(struct registers *r, struct register_read *read, int status,
			  const uint8_t *holes)
{
	static const uint8_t zeros[SECTOR_BYTES];

	read_ended(r, read, status);
	read->holes = true;
	for (uint64_t i = 0; !status && i < read->bytes / SECTOR_BYTES; i++) {
		read->stamps[i] = NO_STAMP;
		if (holes[i] && !sector_read(r, read, "holes read as zeros", i, zeros))
			return;
	}
	read_checked(read);
}

bool registers_check_copy(struct registers *r, const char *rule, const char *who, uint64_t chunk,
			  uint64_t offset, uint64_t bytes, const uint8_t *data)
{
	for (uint64_t i = 0; i < bytes / SECTOR_BYTES; i++) {
		uint64_t sector = offset / SECTOR_BYTES + i;
		struct matches m;
		uint32_t stamp;
		char text[320];

		if (sector_check(r, rule, sector, r->sectors[sector].floor, data + i * SECTOR_BYTES,
				 &stamp, &m))
			continue;
		snprintf(text, sizeof text, "%s: %.200s", who, r->sim->reason);
		snprintf(r->sim->reason, sizeof r->sim->reason, "%s", text);
		r->sim->failed_chunk = chunk;
		return false;
	}
	return true;
}

bool registers_ever_written(const struct registers *r, uint64_t offset, uint64_t bytes)
{
	for (uint64_t i = offset / SECTOR_BYTES; i < (offset + bytes) / SECTOR_BYTES; i++) {
		if (r->sectors[i].count)
			return true;
	}
	return false;
}

/* ---- history ---- */

static double seconds(uint64_t ns)
{
	return ns ? ((double)ns - 1000e9) / 1e9 : 0;
}

static const char *who_of(const struct registers *r, uint32_t attachment)
{
	return r->who[attachment % ARRAY_SIZE(r->who)];
}

void registers_print_history(const struct registers *r, FILE *out)
{
	static const char *const names[] = {"pending", "acknowledged", "failed"};
	const struct register_read *read;
	const struct sector *s;

	if (r->bad_sector == NO_SECTOR)
		return;
	s = &r->sectors[r->bad_sector];
	fprintf(out, "history of volume %s sector %llu (its floor: attachment %u, write %u)\n",
		r->name, (unsigned long long)r->bad_sector, (uint32_t)(s->floor >> 32),
		(uint32_t)s->floor);
	for (uint32_t i = 0; i < s->count; i++) {
		const struct write_record *w = &r->writes[s->entries[i].write];

		fprintf(out,
			"  write %u stamp %u by %s (attachment %u) %llu + %llu: %.6f .. %.6f %s "
			"%d%s\n",
			s->entries[i].write, w->stamp, who_of(r, w->attachment), w->attachment,
			(unsigned long long)w->offset, (unsigned long long)w->bytes,
			seconds(w->begun_ns), seconds(w->ended_ns), names[w->outcome], w->status,
			s->entries[i].dead ? ", dead" : "");
	}
	TAILQ_FOREACH (read, &r->reads, link) {
		uint64_t at = bytes_of(r->bad_sector);

		if (at < read->offset || at >= read->offset + read->bytes)
			continue;
		fprintf(out, "  %s by %s (attachment %u) %llu + %llu: %.6f .. %.6f",
			read->holes ? "holes asked for" : "read", who_of(r, read->attachment),
			read->attachment, (unsigned long long)read->offset,
			(unsigned long long)read->bytes, seconds(read->begun_ns),
			seconds(read->ended_ns));
		if (read->done && !read->status &&
		    read->stamps[(at - read->offset) / SECTOR_BYTES] == NO_STAMP)
			fprintf(out, " -> data\n");
		else if (read->done && !read->status)
			fprintf(out, " -> stamp %u\n",
				read->stamps[(at - read->offset) / SECTOR_BYTES]);
		else
			fprintf(out, " -> %s %d\n", read->done ? "failed" : "pending",
				read->status);
	}
}
