/*
 * meta_attach.c - who has a volume attached.
 *
 * One instance at a time. The attachment is durable; whether its holder is alive is not. A live holder's attachment is taken only
 * by force, also if chunk servers hear it and we don't; a dead one's by whoever comes.
 *
 * The holder answers reads of chunks that do not exist yet with zeros, on the strength of a KEEPALIVE answer, for GRANT_NS
 * from its asking. So whoever takes the volume from it hears ATTACH_OK only PROMISE_NS after the last such answer. The
 * former holder is told DETACHED, in order with its KEEPALIVE answers: later ones grant it nothing. After a restart of the meta
 * service nobody remembers the answers: the wait counts from the start, if the volume was ever taken over. An instance that was away
 * when its volume was taken is told when its session begins again.
 */
#include "meta-service/core/meta_internal.h"

#define SECONDS_PER_DAY 86400u

/* The day of the Gregorian calendar that lies `days` after 1970-01-01; years begin in March here, so that leap days come last. */
static void civil_date(uint64_t days, unsigned *year, unsigned *month, unsigned *day)
{
	uint64_t shifted = days + 719468, era = shifted / 146097, of_era = shifted % 146097;
	uint64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	uint64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	uint64_t from_march = (5 * of_year + 2) / 153;

	*day = (unsigned)(of_year - (153 * from_march + 2) / 5 + 1);
	*month = (unsigned)(from_march < 10 ? from_march + 3 : from_march - 9);
	*year = (unsigned)(year_of_era + era * 400 + (*month <= 2));
}

void wall_text(uint64_t wall_ms, char text[WALL_TEXT_BYTES])
{
	uint64_t seconds = wall_ms / 1000;
	unsigned of_day = (unsigned)(seconds % SECONDS_PER_DAY), year, month, day;

	civil_date(seconds / SECONDS_PER_DAY, &year, &month, &day);
	snprintf(text, WALL_TEXT_BYTES, "%04u-%02u-%02uT%02u:%02u:%02uZ", year, month, day,
		 of_day / 3600, of_day / 60 % 60, of_day % 60);
}

void volume_holder_text(const struct volume *volume, char *text, size_t bytes)
{
	char since[WALL_TEXT_BYTES];

	wall_text(volume->row.since_ms, since);
	snprintf(text, bytes, "host %s, pid %u, since %s", volume->row.holder_host,
		 volume->row.holder_pid, since);
}

static void tell_detached(struct meta *meta, uint64_t connection, const struct volume *volume,
			  const char *why)
{
	struct msg msg = {.type = MSG_DETACHED};

	msg.u.detached.volume = volume->row.volume;
	meta_text(msg.u.detached.text,
		  "Volume %s is no longer attached here: %s. Attach it again to go on (--force "
		  "takes it "
		  "back from another)",
		  volume->row.name, why);
	meta_send(meta, connection, &msg, NULL);
}

void meta_push_detached(struct meta *meta, const struct instance *instance)
{
	for (const struct volume *v = meta->volumes; v; v = v->hh.next)
		if (v->row.taken && !uuid_equal(v->row.holder, instance->id))
			tell_detached(meta, instance->connection, v,
				      "another engine has taken it over");
}

/*
 * A holder that still waits for its ATTACH_OK does not know the volume's number yet, so DETACHED tells it nothing: its
 * ATTACH is refused as that of anyone who comes too late.
 */
static void refuse_pending(struct meta *meta, struct volume *volume, const char *why)
{
	struct msg answer = {.type = MSG_ATTACH_OK, .id = volume->pending.id, .status = WIRE_BUSY};

	meta_text(answer.u.volume.text, "Volume %s was taken while it was being attached: %s",
		  volume->row.name, why);
	meta_send(meta, volume->pending.connection, &answer, NULL);
	volume->pending.connection = 0;
}

/* The holder loses the volume; ready_ns says when nothing is promised to it any more. */
static void take_away(struct meta *meta, struct volume *volume, const char *why)
{
	const struct instance *holder = meta_find_instance(meta, volume->row.holder);
	uint64_t granted_ns = holder ? holder->granted_ns : 0;

	volume->ready_ns = MAX(volume->ready_ns, meta->started_ns + PROMISE_NS);
	if (granted_ns)
		volume->ready_ns = MAX(volume->ready_ns, granted_ns + PROMISE_NS);
	if (holder && holder->connection)
		tell_detached(meta, holder->connection, volume, why);
	if (volume->pending.connection)
		refuse_pending(meta, volume, why);
	volume->row.holder = (struct uuid){{0}};
	volume->row.taken = true;
}

void meta_detach_by_force(struct meta *meta, struct volume *volume, const char *why)
{
	char holder[TEXT_BYTES];

	volume_holder_text(volume, holder, sizeof holder);
	trace(TRACE_WARN, MODULE, "volume=%s taken from %s: %s", volume->row.name, holder, why);
	take_away(meta, volume, why);
}

static void answer_attach(struct meta *meta, struct volume *volume)
{
	struct msg answer = {.type = MSG_ATTACH_OK, .id = volume->pending.id};

	volume_show(volume, &answer.u.volume);
	meta_send(meta, volume->pending.connection, &answer, NULL);
	volume->pending.connection = 0;
}

void meta_answer_attaches(struct meta *meta)
{
	for (struct volume *v = meta->volumes; v; v = v->hh.next)
		if (v->pending.connection && meta->now_ns >= v->ready_ns)
			answer_attach(meta, v);
}

/* True if the present holder keeps the asker out; the answer says who and what to do. */
static bool is_held(struct meta *meta, const struct volume *volume, const struct msg_attach *attach,
		    struct msg *answer)
{
	char holder[TEXT_BYTES];

	if (attach->force || !engine_is_alive(meta, volume->row.holder))
		return false;
	volume_holder_text(volume, holder, sizeof holder);
	answer->status = WIRE_BUSY;
	meta_text(answer->u.volume.text,
		  "Volume %s is attached already%s: %s%s. Detach it there, or take it over "
		  "with --force",
		  volume->row.name,
		  volume->row.mode == ATTACH_READ_ONLY ? " (read-only, which excludes others too)"
						       : "",
		  holder,
		  instance_is_alive(meta, volume->row.holder)
			  ? ""
			  : ", which reaches chunk servers, though not the meta service");
	return true;
}

static void set_holder(struct meta *meta, struct volume *volume, const struct instance *instance,
		       enum attach_mode mode)
{
	struct meta_volume_row *row = &volume->row;

	row->holder = instance->id;
	row->mode = mode;
	memcpy(row->holder_host, instance->host, sizeof row->holder_host);
	row->holder_pid = instance->pid;
	row->since_ms = meta->wall_ms;
	meta_put_volume(meta, volume);
	trace(TRACE_INFO, MODULE, "volume=%s attached: host=%s pid=%u", row->name, row->holder_host,
	      row->holder_pid);
}

void meta_on_attach(struct meta *meta, struct connection *connection, const struct msg *msg)
{
	const struct msg_attach *attach = &msg->u.attach;
	struct volume *volume = meta_find_volume_by_name(meta, attach->volume);
	struct instance *instance = connection->instance;
	struct msg answer = meta_answer(msg, WIRE_NOT_FOUND);
	char why[TEXT_BYTES];

	if (!volume) {
		meta_text(answer.u.volume.text,
			  "There is no volume named %s; copyhold volume list shows what there is",
			  attach->volume);
		meta_send(meta, connection->id, &answer, NULL);
		return;
	}
	if (!uuid_equal(volume->row.holder, instance->id)) {
		if (is_held(meta, volume, attach, &answer)) {
			meta_send(meta, connection->id, &answer, NULL);
			return;
		}
		if (!uuid_is_zero(volume->row.holder)) {
			meta_text(why, "host %s, pid %u took it over%s", instance->host,
				  instance->pid, attach->force ? " with --force" : "");
			meta_detach_by_force(meta, volume, why);
		}
		set_holder(meta, volume, instance, attach->mode);
	} else if (volume->row.mode != attach->mode) {
		set_holder(meta, volume, instance, attach->mode);
	}
	volume->pending.connection = connection->id;
	volume->pending.id = msg->id;
	if (meta->now_ns >= volume->ready_ns)
		answer_attach(meta, volume);
}

void meta_on_detach(struct meta *meta, struct connection *connection, const struct msg *msg)
{
	struct volume *volume = meta_find_volume(meta, msg->u.detach.volume);
	struct msg answer = meta_answer(msg, WIRE_OK);

	answer.u.detach.volume = msg->u.detach.volume;
	if (!volume || !uuid_equal(volume->row.holder, connection->instance_id)) {
		answer.status = volume ? WIRE_NOT_OWNER : WIRE_NOT_FOUND;
	} else {
		trace(TRACE_INFO, MODULE, "volume=%s detached: host=%s pid=%u", volume->row.name,
		      volume->row.holder_host, volume->row.holder_pid);
		volume->row.holder = (struct uuid){{0}};
		volume->pending.connection = 0;
		meta_put_volume(meta, volume);
	}
	meta_send(meta, connection->id, &answer, NULL);
}
