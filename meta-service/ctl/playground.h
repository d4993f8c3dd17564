/* playground.h - a whole cluster on this machine (playground.c), as other commands see it. */
#ifndef COPYHOLD_CTL_PLAYGROUND_H
#define COPYHOLD_CTL_PLAYGROUND_H

#include "meta-service/ctl/command.h"

/* The address of the metad of the playground in the default directory; NULL if there is none. Allocated. */
char *playground_default_meta(void);

#endif
