// floor.c - what a 3-replica write cannot be cheaper than on this machine.
//
// One client thread sends a 4 KiB write with a 32-byte header over loopback TCP
// to N replica processes and waits until Q of them answered with 16 bytes. A
// replica answers at once (mode mem), after a pwrite to an O_DIRECT file (mode
// dio), or after pwrite and fdatasync (mode sync). There is no queue, no log, no
// checksum, no framing state: anything that replicates over sockets does more.
//
// Build: gcc -O2 -o floor floor.c        (Debian: gcc libc6-dev)
// Use:   floor MODE N Q DEPTH SECONDS DIR PORT   -> one CSV line
//        mode,replicas,quorum,depth,iops,mean_us,p99_us,client_cpu_us_per_io,replica_cpu_us_per_io
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	BS = 4096,
	HDR = 32,
	ACK = 16,
	MAXN = 8,
	MAXD = 128
};
static const off_t FILE_SIZE = 1L << 30;

static void die(const char *what)
{
	perror(what);
	exit(1);
}
static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}
static double cpu(int who)
{
	struct rusage r;
	getrusage(who, &r);
	return r.ru_utime.tv_sec + r.ru_stime.tv_sec +
	       (r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1e-6;
}
static int readn(int fd, void *buf, size_t n)
{
	char *p = buf;
	while (n) {
		ssize_t r = read(fd, p, n);
		if (r == 0)
			return 0;
		if (r < 0) {
			if (errno == EINTR)
				continue;
			die("read");
		}
		p += r, n -= r;
	}
	return 1;
}

static void replica(int lfd, const char *mode, const char *dir, int id)
{
	int one = 1, fd = accept(lfd, 0, 0), file = -1;
	if (fd < 0)
		die("accept");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (strcmp(mode, "mem")) {
		char path[4096];
		snprintf(path, sizeof path, "%s/floor.%d", dir, id);
		file = open(path, O_RDWR | O_DIRECT);
		if (file < 0)
			die(path);
	}
	char *buf;
	if (posix_memalign((void **)&buf, 4096, BS))
		die("posix_memalign");
	char hdr[HDR];
	while (readn(fd, hdr, HDR) && readn(fd, buf, BS)) {
		uint64_t off;
		memcpy(&off, hdr + 8, 8);
		if (file >= 0 && pwrite(file, buf, BS, off) != BS)
			die("pwrite");
		if (!strcmp(mode, "sync") && fdatasync(file))
			die("fdatasync");
		if (write(fd, hdr, ACK) != ACK)
			die("ack");
	}
	exit(0);
}

static int cmp(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	if (argc != 8) {
		fprintf(stderr, "usage: floor mem|dio|sync N Q DEPTH SECONDS DIR PORT\n");
		return 2;
	}
	const char *mode = argv[1], *dir = argv[6];
	int n = atoi(argv[2]), q = atoi(argv[3]), depth = atoi(argv[4]), port = atoi(argv[7]),
	    fds[MAXN];
	double secs = atof(argv[5]);
	if (n < 1 || n > MAXN || q < 1 || q > n || depth < 1 || depth > MAXD)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < n; i++) {
		if (strcmp(mode, "mem")) { // fully written file: no allocation while measuring
			char path[4096];
			snprintf(path, sizeof path, "%s/floor.%d", dir, i);
			int f = open(path, O_RDWR | O_CREAT, 0600);
			if (f < 0)
				die(path);
			if (lseek(f, 0, SEEK_END) < FILE_SIZE) {
				static char mib[1 << 20];
				memset(mib, i + 1, sizeof mib);
				for (off_t o = 0; o < FILE_SIZE; o += sizeof mib)
					if (pwrite(f, mib, sizeof mib, o) != sizeof mib)
						die("fill");
				fsync(f);
			}
			close(f);
		}
		struct sockaddr_in a = {.sin_family = AF_INET,
					.sin_port = htons(port + i),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		int one = 1, l = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (bind(l, (void *)&a, sizeof a) || listen(l, 1))
			die("listen");
		if (fork() == 0) {
			for (int j = 0; j < i; j++)
				close(fds[j]);
			replica(l, mode, dir, i);
		}
		close(l);
		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(fds[i], (void *)&a, sizeof a))
			die("connect");
		setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	}

	static char data[BS];
	static double start[MAXD];
	static int acks[MAXD], open_acks[MAXD];
	size_t cap = 1 << 24, done = 0;
	float *lat = malloc(cap * sizeof *lat);
	struct pollfd pfd[MAXN];
	for (int i = 0; i < n; i++)
		pfd[i] = (struct pollfd){fds[i], POLLIN, 0};
	unsigned long rnd = 88172645463325252UL;
	double t0 = now(), c0 = cpu(RUSAGE_SELF), tend = t0 + secs;
	int inflight = 0;
	for (;;) {
		double t = now();
		// A slot is free once all replicas answered; the write completes at Q answers.
		for (int s = 0; s < depth && t < tend; s++) {
			if (open_acks[s])
				continue;
			rnd ^= rnd << 13, rnd ^= rnd >> 7, rnd ^= rnd << 17;
			char hdr[HDR] = {0};
			uint64_t slot = s, off = rnd % (FILE_SIZE / BS) * BS;
			memcpy(hdr, &slot, 8);
			memcpy(hdr + 8, &off, 8);
			start[s] = now(), acks[s] = 0, open_acks[s] = n, inflight++;
			for (int i = 0; i < n; i++) {
				struct iovec v[2] = {{hdr, HDR}, {data, BS}};
				if (writev(fds[i], v, 2) != HDR + BS)
					die("writev");
			}
		}
		if (!inflight)
			break;
		if (poll(pfd, n, -1) < 0)
			die("poll");
		for (int i = 0; i < n; i++) {
			if (!pfd[i].revents)
				continue;
			char ack[ACK * MAXD];
			ssize_t r = read(fds[i], ack, sizeof ack);
			if (r <= 0)
				die("replica gone");
			if (r % ACK && !readn(fds[i], ack + r, ACK - r % ACK))
				die("replica gone");
			for (char *p = ack; p < ack + r; p += ACK) {
				uint64_t s;
				memcpy(&s, p, 8);
				if (++acks[s] == q && done < cap)
					lat[done++] = (now() - start[s]) * 1e6;
				if (!--open_acks[s])
					inflight--;
			}
		}
	}
	double wall = now() - t0, cc = cpu(RUSAGE_SELF) - c0, sum = 0;
	for (int i = 0; i < n; i++)
		close(fds[i]);
	while (wait(0) > 0)
		;
	double rc = cpu(RUSAGE_CHILDREN);
	for (size_t i = 0; i < done; i++)
		sum += lat[i];
	qsort(lat, done, sizeof *lat, cmp);
	printf("%s,%d,%d,%d,%.0f,%.1f,%.1f,%.2f,%.2f\n", mode, n, q, depth, done / wall, sum / done,
	       lat[(size_t)(done * 0.99)], cc / done * 1e6, rc / done * 1e6);
	return 0;
}
