/* owner_scrub.h - what owner_scrub.c and owner_scrub_unit.c share. Not for others. */
#ifndef COPYHOLD_OWNER_SCRUB_H
#define COPYHOLD_OWNER_SCRUB_H

#include "replica-engine/core/owner_private.h"

#define SCRUB_UNITS_MAX 2u
/* A replica that leaves a READ, VERSIONS or REPAIR unanswered for so long is gone on without: writes of the unit wait meanwhile. */
#define SCRUB_SILENT_NS (2 * NS_PER_S)
#define SCRUB_PASSES    3u

enum part_state {
	PART_NONE,
	PART_ASKED,
	PART_READ,   /* its blocks are here */
	PART_GONE,   /* no answer will come, or none that says anything about its blocks */
	PART_MENDED, /* REPAIR sent */
};

/* One replica's copy of the unit. */
struct part {
	enum part_state state;
	uint64_t id;
	struct version version;
	bool unreadable; /* all of it: no version came */
	uint16_t bad, zero, repair;
	uint32_t crcs[UNIT_BLOCKS];
	struct slice data;
	struct slice packed; /* of the REPAIR */
};

struct scrub_unit {
	struct owner_request r;
	struct part parts[REPLICAS_MAX]; /* by slot */
	bool whole;                      /* of the scrub of the chunk */
};

struct owner_scrub {
	struct scrub_unit units[SCRUB_UNITS_MAX];
	/* of the chunk */
	bool active, listing, lists_asked, list_heard;
	uint64_t list_ids[REPLICAS_MAX]; /* VERSIONS under way */
	uint64_t listed_ns;              /* when they were asked for */
	uint64_t away_since_ns; /* since when one that counts is out of reach; 0: none is */
	uint64_t told_ns;
	uint8_t *wanted; /* a bit a unit: still to be read */
	uint32_t next_unit, pass, under_way;
	struct msg_scrubbed result;
};

struct owner_scrub *scrub_get(struct owner *o);
/* False: it is under way, or the pool is in use. */
bool scrub_unit_new(struct step *s, uint32_t unit, bool whole);
/* complete: it was read, and need not be read again. */
void scrub_unit_end(struct step *s, struct scrub_unit *u, bool complete);
/* Something has been heard of its parts: judges, or ends. */
void scrub_unit_progress(struct step *s, struct scrub_unit *u);
/* An answer to what was asked for one part. */
void scrub_unit_answered(struct step *s, struct scrub_unit *u, unsigned slot,
			 const struct msg *msg);
/* Emits SCRUBBED. */
void scrub_tell(struct step *s, struct msg_scrubbed *result, bool last);

#endif
