/* job.h - waiting for a job of the meta service. */
#ifndef COPYHOLD_CTL_JOB_H
#define COPYHOLD_CTL_JOB_H

#include "meta-service/ctl/command.h"

/* Until it has ended, with its progress on a terminal; prints it. Fails if it found damage, failed or was cancelled. */
enum exit_code job_wait(const struct invocation *in, uint64_t job);

#endif
