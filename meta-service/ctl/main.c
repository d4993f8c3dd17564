/* main.c - copyhold(1): the operator's command. */
#include "meta-service/ctl/command.h"
#include "common/trace/trace.h"

#include <signal.h>

int main(int argc, char **argv)
{
	trace_limit =
		TRACE_ERROR; /* the transport's lines are for daemons; COPYHOLD_TRACE brings them back */
	trace_init();
	signal(SIGPIPE, SIG_IGN);
	return command_main(argc, argv);
}
