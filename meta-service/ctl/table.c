/* table.c - every command with its options, and finding the one that is meant. */
#include "meta-service/ctl/command.h"

static const struct option_spec no_options[] = {{0}};

static const struct option_spec playground_options[] = {
	{"dir", "DIR", "where the playground's state and data lie"},
	{0},
};

static const struct option_spec playground_start_options[] = {
	{"dir", "DIR", "where the playground's state and data lie"},
	{"chunk-servers", "N", "how many chunk servers to run (3)"},
	{"size", "SIZE",
	 "size of each new chunk server's data file (10G; takes no space until used)"},
	{"port", "N", "first TCP port to try (7700)"},
	{0},
};

static const struct option_spec create_options[] = {
	{"size", "SIZE", "size of the volume, a multiple of 4 KiB: 10G, 512M, 1T, ..."},
	{"replicas", "N", "copies of each chunk (3)"},
	{"min-replicas", "N", "copies without which writes wait (2 of 3, 1 of 2)"},
	{"chunk-size", "SIZE", "unit of placement and repair, a power of two from 4M to 1G (256M)"},
	{0},
};

static const struct option_spec resize_options[] = {
	{"size", "SIZE", "the new size, a multiple of 4 KiB: 10G, 512M, 1T, ..."},
	{"force", NULL, "to a smaller size: what lies beyond the new end is lost"},
	{0},
};

static const struct option_spec delete_options[] = {
	{"force", NULL, "also while it is attached: its IO fails from then on"},
	{0},
};

static const struct option_spec attach_options[] = {
	{"fuse", NULL, "through nbdfuse and a loop device instead of the kernel's nbd driver"},
	{"force", NULL, "take the volume away from whoever holds it; IO there fails"},
	{"read-only", NULL, "refuse writes"},
	{"swap", NULL,
	 "for swap space: nbdkit is locked into memory, in real time (nbd driver only)"},
	{"connections", "N", "sockets between the kernel and nbdkit (1; nbd driver only)"},
	{"timeout", "SECONDS",
	 "how long IO waits for nbdkit to come back before it fails (300; nbd driver only)"},
	{"upgrade", NULL, "of an attached volume: replace nbdkit, so that the installed one runs"},
	{"configured", NULL, "device, options and mountpoint as in /etc/copyhold/attach.conf"},
	{0},
};

static const struct option_spec detach_options[] = {
	{"force", NULL, "also while it is mounted (unmounts lazily)"},
	{"configured", NULL, "unmount it first"},
	{0},
};

static const struct option_spec chunk_list_options[] = {
	{"volume", "NAME", "only chunks of this volume"},
	{"server", "CID", "only chunks with a replica on this chunk server"},
	{"degraded", NULL, "only chunks with fewer ACTIVE replicas than wanted"},
	{0},
};

static const struct option_spec chunk_check_options[] = {
	{"volume", "NAME", "only chunks of this volume"},
	{"detail", NULL, "also each chunk's last scrub"},
	{0},
};

static const struct option_spec chunk_scrub_options[] = {
	{"volume", "NAME", "only chunks of this volume"},
	{"wait", NULL, "until it has ended; fails if there is damage that can't be repaired"},
	{0},
};

static const struct option_spec confirm_options[] = {
	{"force", NULL, "really: volumes and replicas made since that store may be lost"},
	{0},
};

const struct command command_table[] = {
	{"playground", "start", "", 0, 0, "run a whole cluster on this machine",
	 playground_start_options, playground_start},
	{"playground", "stop", "", 0, 0, "stop it, keep its data", playground_options,
	 playground_stop},
	{"playground", "status", "", 0, 0, "which of its processes run", playground_options,
	 playground_status},
	{"volume", "create", "NAME --size SIZE", 1, 1, "make a new volume", create_options,
	 volume_create},
	{"volume", "list", "", 0, 0, "all volumes", no_options, volume_list},
	{"volume", "show", "NAME", 1, 1, "one volume in detail", no_options, volume_show},
	{"volume", "resize", "NAME --size SIZE", 1, 1, "make a volume larger or smaller",
	 resize_options, volume_resize},
	{"volume", "rename", "NAME NEW_NAME", 2, 2, "give a volume another name", no_options,
	 volume_rename},
	{"volume", "delete", "NAME", 1, 1, "delete a volume and its data", delete_options,
	 volume_delete},
	{"attach", NULL, "VOLUME [DEVICE]", 1, 2, "make a volume a block device of this host",
	 attach_options, attach_run},
	{"detach", NULL, "VOLUME|DEVICE", 1, 1, "end that", detach_options, detach_run},
	{"attached", NULL, "", 0, 0, "what is attached on this host", no_options, attached_run},
	{"server", "list", "", 0, 0, "all chunk servers", no_options, server_list},
	{"server", "show", "CID", 1, 1, "one chunk server in detail", no_options, server_show},
	{"chunk", "list", "", 0, 0, "chunks and their replicas", chunk_list_options, chunk_list},
	{"chunk", "show", "CHUNK|VOLUME:INDEX", 1, 1, "one chunk in detail", no_options,
	 chunk_show},
	{"chunk", "check", "[CHUNK]", 0, 1, "compare records with what chunk servers report",
	 chunk_check_options, chunk_check},
	{"chunk", "scrub", "[CHUNK]", 0, 1,
	 "read everything on all replicas, compare, repair what is bad", chunk_scrub_options,
	 chunk_scrub},
	{"job", "list", "", 0, 0, "long operations: scrubs", no_options, job_list},
	{"job", "show", "JOB", 1, 1, "one job in detail", no_options, job_show},
	{"job", "cancel", "JOB", 1, 1, "end it", no_options, job_cancel},
	{"job", "pause", "JOB", 1, 1, "begin no further chunk", no_options, job_pause},
	{"job", "resume", "JOB", 1, 1, "go on", no_options, job_resume},
	{"meta", "confirm", "", 0, 0, "accept a meta service whose store is older than the cluster",
	 confirm_options, meta_confirm},
	{"status", NULL, "", 0, 0, "health, what is wrong and what to do, capacity", no_options,
	 status_run},
	{0},
};
