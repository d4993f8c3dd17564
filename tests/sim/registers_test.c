/*
 * registers_test.c - the register checker put to the test: short histories, each with the verdict that is right for it. Runs as
 * `sim --self-test`.
 */
#include "tests/sim/registers.h"

#include <errno.h>

/*
 * One step a character pair: verb, then the name of a write or read.
 *   w1 begin write 1 (attachment a), a1 acknowledge it, f1 fail it, n1 refuse it for want of room; z1 begin zeroing as write 1
 *   r1 begin read 1, then =1:2  read 1 returns the content of write 2 (0: zeros), or h1 it says that there is a hole, or d1 data
 *   A  a new attachment takes over: later verbs are of it; B verbs of the one before again
 *   C  the volume is cut to nothing, and grows again
 *   s1:2 write 1 begins with the stamp of write 2 (a repeat)
 */
struct history {
	const char *steps;
	bool legal;
};

static const struct history histories[] = {
	{"w1 a1 r1 =1:1", true},
	{"w1 a1 r1 =1:0", false}, /* lost */
	{"w1 r1 =1:0 r2 =2:1 a1", true},
	{"w1 r1 =1:1 r2 =2:0", false}, /* older after newer */
	{"w1 r1 r2 =1:1 =2:0", true},  /* both under way at once */
	{"w1 a1 w2 a2 r1 =1:1", false},
	{"w1 a1 w2 r1 a2 =1:1", true},  /* the read began before the acknowledgement */
	{"w1 w2 a2 a1 r1 =1:1", false}, /* arrival decides */
	{"w1 w2 a1 a2 r1 =1:2", true},
	{"w1 f1 r1 =1:0 r2 =2:1", false}, /* settled, and back */
	{"w1 f1 r1 =1:1 r2 =2:0", false},
	{"w1 f1 r1 =1:0 r2 =2:0", true},
	{"w1 r1 f1 =1:0 r2 =2:1", true}, /* the read began before the failure */
	{"w1 a1 C A r1 =1:0", true},
	{"w1 a1 C A r1 =1:1", false}, /* old bytes behind a cut */
	{"w1 C a1 A r1 =1:0", true},
	{"w1 a1 r1 C =1:1", true}, /* it had begun before */
	{"w1 a1 C A w2 a2 B w3 a3 A r1 =1:3", false},
	{"w1 a1 C A w2 a2 B r1 =1:1 A r2 =2:2", true}, /* whoever had it before the cut */
	{"w1 n1 r1 =1:0 r2 =2:0", true},
	{"w1 n1 r1 =1:1", false},        /* refused for want of room, and done */
	{"w1 r1 n1 =1:1", false},        /* whenever the read began */
	{"w1 r1 =1:1 n1", false},        /* seen, and then refused */
	{"w1 s2:1 r1 =1:1 n1 a2", true}, /* the other copy of it was seen */
	{"w1 s2:1 n1 a2 r1 =1:1", true},
	{"w1 s2:1 a1 n2 r1 =1:1", true},
	{"w1 s2:1 n1 n2 r1 =1:1", false},
	{"w1 a1 z2 a2 r1 =1:0", true},
	{"w1 a1 z2 a2 w3 a3 z4 r1 =1:0", true},
	{"w1 a1 z2 r1 =1:0 r2 =2:1", false},
	{"w1 a1 A r1 =1:1", true},
	{"w1 A r1 =1:0 a1", false},      /* a fenced owner acknowledges */
	{"w1 A r1 =1:0 r2 =2:1", false}, /* a fenced owner's write appears */
	{"w1 A r1 =1:1 B a1", true},     /* it had happened before */
	{"A w1 a1 B w2 A r1 =1:2",
	 false}, /* a write that came after the takeover, to the old owner */
	{"A w1 a1 B w2 a2 A r1 =1:1",
	 true}, /* not seen here: overwritten in the order of attachments */
	{"w1 a1 A B r1 =1:1 A w2 a2 B r2 =2:1", false}, /* the old owner reads what is no more */
	{"w1 a1 w2 a2 s3:1 r1 =1:1 a3", true},          /* a repeat of an old write, under way */
	{"w1 s2:1 a1 w3 a3 r1 =1:3 r2 =2:1",
	 false},                  /* a repeat of a write that an overwrite has passed */
	{"w1 a1 r1 =1:9", false}, /* bytes of nobody */
	{"w1 a1 r1 h1", false},   /* a hole where something was acknowledged */
	{"w1 a1 r1 d1", true},
	{"w1 a1 z2 a2 r1 d1", true}, /* zeros may lie there, and be called data */
	{"w1 a1 z2 a2 r1 h1", true},
	{"w1 r1 h1 a1 r2 =2:1", true},
	{"w1 r1 a1 h1", true}, /* asked before the acknowledgement */
	{"w1 r1 =1:1 r2 h2", false},
	{"w1 f1 r1 h1 r2 =2:1", false}, /* what was a hole has not happened */
	{"w1 f1 r1 d1 r2 =2:0", true},
};

#define NAMES 10

struct player {
	struct sim sim;
	struct registers *r;
	uint32_t attachment[2], now;
	uint32_t write[NAMES], stamp[NAMES];
	struct register_read *read[NAMES];
};

static void play_step(struct player *p, const char *s)
{
	unsigned n = s[1] ? (unsigned)(s[1] - '0') : 0,
		 m = s[1] && s[2] == ':' ? (unsigned)(s[3] - '0') : 0;
	uint8_t data[SECTOR_BYTES];

	p->sim.now_ns += 1000;
	switch (s[0]) {
	case 'w':
	case 'z':
	case 's':
		p->stamp[n] = s[0] == 'z' ? 0 : s[0] == 's' ? p->stamp[m] : registers_stamp(p->r);
		p->write[n] =
			registers_write(p->r, p->attachment[p->now], 0, SECTOR_BYTES, p->stamp[n]);
		break;
	case 'a':
	case 'f':
	case 'n':
		registers_write_done(p->r, p->write[n],
				     s[0] == 'a'   ? 0
				     : s[0] == 'f' ? -EIO
						   : -ENOSPC);
		break;
	case 'r':
		p->read[n] = registers_read(p->r, p->attachment[p->now], 0, SECTOR_BYTES);
		break;
	case '=':
		registers_fill(p->r, m == 9 ? 777 : m ? p->stamp[m] : 0, 0, SECTOR_BYTES, data);
		registers_read_done(p->r, p->read[n], 0, data);
		break;
	case 'h':
	case 'd':
		data[0] = s[0] == 'h';
		registers_holes_done(p->r, p->read[n], 0, data);
		break;
	case 'C':
		registers_cut(p->r, 0, registers_attachments(p->r));
		registers_grow(p->r, 4096);
		break;
	case 'A':
	case 'B':
		p->now = s[0] == 'A';
		if (p->now && !p->attachment[1])
			p->attachment[1] = registers_attach(p->r, "E2", 4096);
		break;
	}
}

static bool play(const struct history *h)
{
	struct player p = {0};
	bool legal;

	sim_init(&p.sim, 1);
	p.r = registers_new(&p.sim, "test", 4096, 4096);
	p.attachment[0] = registers_attach(p.r, "E1", 4096);
	for (const char *s = h->steps; *s && !p.sim.failed; s += strcspn(s, " "), s += *s == ' ')
		play_step(&p, s);
	legal = !p.sim.failed;
	registers_free(p.r);
	sim_fini(&p.sim);
	return legal;
}

unsigned registers_self_test(void)
{
	unsigned wrong = 0;

	for (size_t i = 0; i < ARRAY_SIZE(histories); i++) {
		if (play(&histories[i]) == histories[i].legal)
			continue;
		wrong++;
		printf("register checker: \"%s\" is %s, and was judged otherwise\n",
		       histories[i].steps, histories[i].legal ? "legal" : "illegal");
	}
	return wrong;
}
