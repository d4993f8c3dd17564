/*
 * volumes.h - the volumes that this nbdkit process has attached, shared by all its NBD connections.
 *
 * The first connection to an export attaches the volume, the last one to close detaches it. Called from nbdkit's threads.
 */
#ifndef COPYHOLD_VOLUMES_H
#define COPYHOLD_VOLUMES_H

#include "nbd-plugin/handover.h"

struct volume;

/*
 * Attaches, or takes part in an attachment. text (TEXT_BYTES) says why not: -ENOENT, -EBUSY, -ETIMEDOUT, ... Waits
 * while another connection attaches or detaches the same volume.
 */
int volume_open(struct handover *handover, const char *name, bool read_only, bool force,
		struct volume **volume, char *text);
void volume_close(struct handover *handover, struct volume *volume);
/*
 * Detaches what is left, for the end of the process: nbdkit closes no handle once it has been told to quit. Its connections'
 * threads must have ended, or be inside volume_close.
 */
void volume_close_all(struct handover *handover);
struct engine_volume *volume_engine(struct volume *volume);

#endif
