/* meta_update.c - what a step brings about: rows to commit, and outputs in order. */
#include "meta-service/core/meta_internal.h"

#include <stdarg.h>
#include <stdlib.h>

static struct meta_row *new_row(struct meta *meta, enum meta_row_kind kind, bool removed)
{
	struct meta_update *update = meta->update;

	assert(update);
	if (update->row_count == update->row_room) {
		update->row_room = update->row_room ? update->row_room * 2 : 16;
		update->rows = xrealloc(update->rows, update->row_room * sizeof *update->rows);
	}

	struct meta_row *row = &update->rows[update->row_count++];

	memset(row, 0, sizeof *row);
	row->kind = kind;
	row->removed = removed;
	return row;
}

void meta_put_cluster(struct meta *meta)
{
	new_row(meta, META_ROW_CLUSTER, false)->u.cluster = meta->cluster;
}

void meta_put_server(struct meta *meta, const struct server *server)
{
	new_row(meta, META_ROW_SERVER, false)->u.server = server->row;
}

void meta_put_volume(struct meta *meta, const struct volume *volume)
{
	new_row(meta, META_ROW_VOLUME, false)->u.volume = volume->row;
}

void meta_put_chunk(struct meta *meta, const struct chunk *chunk)
{
	new_row(meta, META_ROW_CHUNK, false)->u.chunk = chunk->row;
}

void meta_put_scrub(struct meta *meta, const struct chunk *chunk)
{
	new_row(meta, META_ROW_SCRUB, false)->u.scrub = chunk->scrub.row;
}

void meta_put_job(struct meta *meta, const struct job *job)
{
	new_row(meta, META_ROW_JOB, false)->u.job = job->row;
}

void meta_remove_job_row(struct meta *meta, uint64_t job)
{
	new_row(meta, META_ROW_JOB, true)->u.job.job = job;
}

void meta_remove_volume_row(struct meta *meta, uint64_t volume)
{
	new_row(meta, META_ROW_VOLUME, true)->u.volume.volume = volume;
}

void meta_remove_chunk_row(struct meta *meta, uint64_t chunk)
{
	new_row(meta, META_ROW_SCRUB, true)->u.scrub.chunk = chunk;
	new_row(meta, META_ROW_CHUNK, true)->u.chunk.chunk = chunk;
}

static struct meta_output *new_output(struct meta *meta, uint64_t connection)
{
	struct meta_update *update = meta->update;

	assert(update);
	assert(connection);
	if (update->output_count == update->output_room) {
		update->output_room = update->output_room ? update->output_room * 2 : 16;
		update->outputs =
			xrealloc(update->outputs, update->output_room * sizeof *update->outputs);
	}

	struct meta_output *output = &update->outputs[update->output_count++];

	memset(output, 0, sizeof *output);
	output->connection = connection;
	return output;
}

void meta_send(struct meta *meta, uint64_t connection, const struct msg *msg, void *memory)
{
	struct meta_output *output = new_output(meta, connection);

	output->msg = *msg;
	output->memory = memory;
}

void meta_send_close(struct meta *meta, uint64_t connection)
{
	new_output(meta, connection)->close = true;
}

struct msg meta_answer(const struct msg *request, enum wire_status status)
{
	struct msg answer;

	memset(&answer, 0, sizeof answer);
	answer.type = (enum msg_type)(request->type + 1);
	answer.id = request->id;
	answer.status = status;
	return answer;
}

void meta_refuse(struct meta *meta, uint64_t connection, const struct msg *request,
		 enum wire_status status)
{
	struct msg answer = meta_answer(request, status);

	meta_send(meta, connection, &answer, NULL);
}

void meta_text(char text[TEXT_BYTES], const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, TEXT_BYTES, format, ap);
	va_end(ap);
}

void meta_update_clear(struct meta_update *update)
{
	for (size_t i = 0; i < update->output_count; i++)
		free(update->outputs[i].memory);
	update->row_count = 0;
	update->output_count = 0;
}

void meta_update_free(struct meta_update *update)
{
	meta_update_clear(update);
	free(update->rows);
	free(update->outputs);
	memset(update, 0, sizeof *update);
}
