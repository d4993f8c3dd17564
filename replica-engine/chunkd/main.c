/* main.c - copyhold-chunkd: picks the subcommand. */
#include "common/trace/trace.h"
#include "replica-engine/chunkd/command.h"

#include <stdio.h>

const char usage_text[] =
	"Usage: copyhold-chunkd run --data FILE|DEVICE [OPTIONS]\n"
	"       copyhold-chunkd format FILE|DEVICE [--size SIZE] [--journal SIZE]\n"
	"                              [--allocate] [--force]\n"
	"       copyhold-chunkd inspect FILE|DEVICE [--chunk ID]\n"
	"       copyhold-chunkd fsck FILE|DEVICE [--quick]\n"
	"\n"
	"A chunk server of a Copyhold cluster: keeps replicas on one file or block "
	"device.\n"
	"\n"
	"run: serves until SIGTERM or SIGINT\n"
	"  --data PATH            the disk, made by format\n"
	"  --listen HOST:PORT     default " SETTINGS_LISTEN_DEFAULT "\n"
	"  --advertise HOST:PORT  where others reach it, if that is another "
	"address\n"
	"  --local unix:PATH      a socket for engines on this host\n"
	"  --meta LIST            HOST:PORT[,HOST:PORT...]; "
	"default " SETTINGS_META_DEFAULT "\n"
	"  --host --zone --rack --node NAME\n"
	"                         where it stands; the host and the node default "
	"to this host's "
	"name\n"
	"  --memory-limit SIZE    for its tables; default 1.6 GiB per TiB of disk\n"
	"  --metadata-memory SIZE for the part of them that can be read again from the "
	"disk\n"
	"                         when it is needed; default all of it\n"
	"  --power-loss-protected the device keeps what it has taken when power "
	"fails\n"
	"  --config FILE          section [chunkd] with the same names "
	"(memory_limit,\n"
	"                         metadata_memory, power_loss_protected = yes); options given here "
	"win\n"
	"\n"
	"format: makes a file or device the disk of a new chunk server\n"
	"  --size SIZE            of a new file: 10G\n"
	"  --journal SIZE         default by the size of the disk\n"
	"  --allocate             take all the space of a new file at once, not as "
	"it is used\n"
	"  --force                overwrite what it holds\n"
	"\n"
	"inspect: shows what is on a disk that is not in use; --chunk with its units\n"
	"fsck: checks everything, with --quick not the data; exits 1 if something is bad\n"
	"\n"
	"  --version, --help\n"
	"\n"
	"COPYHOLD_TRACE=debug shows more in its log.\n";

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} commands[] = {
		{"run", command_run},
		{"format", command_format},
		{"inspect", command_inspect},
		{"fsck", command_fsck},
	};

	trace_init();
	if (argc > 1 && strcmp(argv[1], "--help") == 0) {
		fputs(usage_text, stdout);
		return 0;
	}
	if (argc > 1 && strcmp(argv[1], "--version") == 0) {
		puts("copyhold-chunkd " COPYHOLD_VERSION);
		return 0;
	}
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	if (argc > 1)
		fprintf(stderr, "copyhold-chunkd: there is no command %s\n", argv[1]);
	fputs("Try copyhold-chunkd --help\n", stderr);
	return EXIT_USAGE;
}
