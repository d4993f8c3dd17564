/*
 * rows.h - the meta service's durable rows in memory, behind meta_store: commits take time, may fail (done or not), and a
 * crash of the metad leaves the one under way done or not. The rows survive every metad.
 *
 * It is also where checkers read what is committed: the lists, epochs and owners.
 */
#ifndef COPYHOLD_SIM_ROWS_H
#define COPYHOLD_SIM_ROWS_H

#include "meta-service/store/meta_store.h"
#include "tests/sim/sim.h"

struct sim_rows;

struct sim_rows *sim_rows_new(struct sim *sim, uint64_t latency_ns, uint64_t jitter_ns);
void sim_rows_free(struct sim_rows *rows);
/* The seam, for commits of this process from now on. */
struct meta_store *sim_rows_open(struct sim_rows *rows, struct sim_process *process);
void sim_rows_process_ended(struct sim_rows *rows);

/* Called as a commit begins. */
void sim_rows_watch(struct sim_rows *rows, void (*begun)(void *context), void *context);
/* Called as a commit changes the row of a chunk or volume that is there, with what it was and what it will be. */
void sim_rows_watch_changes(struct sim_rows *rows,
			    void (*changed)(void *context, const struct meta_row *before,
					    const struct meta_row *after),
			    void *context);
/* The lease of this chunk is being granted: committed, or not, if metad dies now. */
bool sim_rows_granting(const struct sim_rows *rows, uint64_t chunk);
/* The next commits fail, each done or not by chance. */
void sim_rows_fail(struct sim_rows *rows, unsigned commits);
void sim_rows_set_slow(struct sim_rows *rows, uint32_t times);

const struct meta_chunk_row *sim_rows_chunk(const struct sim_rows *rows, uint64_t chunk);
/* What the last scrub of the chunk has shown; NULL: nothing yet. */
const struct meta_scrub_row *sim_rows_scrub(const struct sim_rows *rows, uint64_t chunk);
const struct meta_server_row *sim_rows_server(const struct sim_rows *rows, uint32_t cid);
const struct meta_volume_row *sim_rows_volume(const struct sim_rows *rows, uint64_t volume);
const struct meta_volume_row *sim_rows_volume_named(const struct sim_rows *rows, const char *name);
const struct meta_cluster_row *sim_rows_cluster(const struct sim_rows *rows);
/* In the order of their ids: the i-th; NULL after the last. */
const struct meta_chunk_row *sim_rows_chunk_at(const struct sim_rows *rows, size_t i);
const struct meta_server_row *sim_rows_server_at(const struct sim_rows *rows, size_t i);

/* A backup, and an old one put back while no metad runs. */
void sim_rows_save(struct sim_rows *rows);
void sim_rows_swap_saved(struct sim_rows *rows);

#endif
