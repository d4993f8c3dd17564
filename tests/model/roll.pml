/*
 * One chunk of two units: an owner's start that is interrupted at any step, and a replica that is deleted and created again.
 * A companion of copyhold.pml, which has one unit and all of grants, joins and promotions.
 *
 *   sh run.sh                              runs this too        spin -a -DM_ROLL_NEWER_ONLY roll.pml, as there: a mutation
 *
 * What is modelled
 *   Writes 1, 2, 3 go to units 0, 1, 0. At the start each replica holds a prefix of them (its position), and what all hold was
 *   acknowledged. Owners 1 .. MAXEP follow each other; each may stop for ever, or be overtaken, between any two steps.
 *   An owner's start: SYNC to each ACTIVE replica or its eviction; equal answers start IO; else the reference is the highest position
 *   that is not mending: MEND_BEGIN, a copy of each unit that differs, MEND_END with the reference's position, for each of
 *   the others. Then it makes one write, to unit 1.
 *   An evicted replica may be deleted (DELETE carries a commit number), and be created and filled again (CREATE carries a higher one);
 *   a DELETE arrives late, or twice.
 * What is asserted
 *   A1  an ACTIVE replica has every acknowledged write
 *   A3  replicas are equal in all units when IO starts. M_ROLL_NEWER_ONLY breaks this alone: with -DNO_A3 nothing is found.
 */
#ifndef MAXEP
#define MAXEP 3
#endif
#define NR 3
#define HAS(s, r) (((s) >> (r)) & 1)
#define ADD(s, r) s = (s) | (1 << (r))
#define DEL(s, r) s = (s) & ~(1 << (r))

byte act = 7, ep = 1;                   /* metad: the list, the epoch granted last */
byte fence[NR], pos[NR], a[NR], b[NR];  /* replicas: epoch let in, position, versions of units 0 and 1 */
bool mend[NR], here[NR];
byte made[NR], del[NR];                 /* commit of the last CREATE or DELETE carried out; of a DELETE that may still arrive */
byte commit;
byte acked0, acked1;                    /* ghosts: the newest acknowledged write of each unit */
byte newest;                            /* ghost: the newest owner that does IO */

#define GOOD(r) (!HAS(act, r) || (here[r] && a[r] >= acked0 && b[r] >= acked1))
#define SAME(r, q) (!HAS(act, r) || !HAS(act, q) || (a[r] == a[q] && b[r] == b[q]))
#define LEVEL(r, q) (pos[r] == pos[q] && a[r] == a[q] && b[r] == b[q] && !mend[r] && !mend[q])

#ifdef M_ROLL_NEWER_ONLY        /* a unit that is newer than the reference's is left alone */
#define DIFFERS(x, y) ((x) < (y))
#else
#define DIFFERS(x, y) ((x) != (y))
#endif
#ifdef M_NO_MEND                /* an interrupted roll-forward does not show; equal positions pass for equal replicas */
#define MENDING(r) false
#define EQUAL(r, q) (pos[r] == pos[q])
#else
#define MENDING(r) mend[r]
#define EQUAL(r, q) LEVEL(r, q)
#endif

inline apply(r, g) {
	pos[r] = g;
	if
	:: g % 2 == 1 -> a[r] = g
	:: else -> b[r] = g
	fi
}

proctype Owner(byte e) {
	byte r, ref, done, g;
	bool equal;

	ep == e;                                        /* granted */
	/* SYNC, or eviction, of each */
	r = 0;
	do
	:: r < NR && !HAS(act, r) -> r++
	:: atomic { r < NR && HAS(act, r) && here[r] && fence[r] <= e -> fence[r] = e; r++ }
	:: atomic { r < NR && HAS(act, r) && ep == e && act != (1 << r) -> DEL(act, r); r++ }
	:: r < NR && fence[r] > e -> goto over
	:: r == NR -> break
	od;
	atomic {
		/* the reference: not mending before mending, then the highest position */
		ref = NR; equal = true; r = 0;
		do
		:: r < NR ->
			if
			:: HAS(act, r) && fence[r] == e && (ref == NR || (!MENDING(r) && MENDING(ref)) || (MENDING(r) == MENDING(ref) && pos[r] > pos[ref])) -> ref = r
			:: else
			fi;
			r++
		:: else -> break
		od;
		if
		:: ref == NR || ep != e -> goto over
		:: else
		fi;
		r = 0
	}
	/* make the others level, one message a step */
	do
	:: r < NR && (!HAS(act, r) || r == ref || EQUAL(r, ref)) -> r++
	:: r < NR && HAS(act, r) && r != ref && !EQUAL(r, ref) ->
		if
		:: fence[r] != e -> goto over
		:: atomic { fence[r] == e -> mend[r] = true }
		fi;
		if
		:: fence[r] != e -> goto over
		:: atomic { fence[r] == e && fence[ref] == e -> a[r] = (DIFFERS(a[r], a[ref]) -> a[ref] : a[r]) }
		fi;
		if
		:: fence[r] != e -> goto over
		:: atomic { fence[r] == e && fence[ref] == e -> b[r] = (DIFFERS(b[r], b[ref]) -> b[ref] : b[r]) }
		fi;
		if
		:: fence[r] != e -> goto over
		:: atomic { fence[r] == e -> mend[r] = false; pos[r] = pos[ref]; r++ }
		fi
	:: r == NR -> break
	od;
	atomic {
		if
		:: ep == e && (!HAS(act, 0) || fence[0] == e) && (!HAS(act, 1) || fence[1] == e) && (!HAS(act, 2) || fence[2] == e) ->
			/* IO starts */
			newest = e;
			assert(GOOD(0) && GOOD(1) && GOOD(2));                                  /* A1 */
#ifndef NO_A3
			assert(SAME(0, 1) && SAME(1, 2) && SAME(0, 2));                         /* A3 */
#endif
			g = 4 + 2 * e; r = 0; done = 0
		:: else -> goto over
		fi
	}
	/* one write, to unit 1 */
	do
	:: atomic { r < NR && HAS(act, r) && here[r] && fence[r] == e && !HAS(done, r) -> apply(r, g); ADD(done, r); r++ }
	:: r < NR && !HAS(act, r) -> r++
	:: r < NR && fence[r] > e -> goto over
	:: atomic { r < NR && HAS(act, r) && ep == e && act != (1 << r) -> DEL(act, r); r++ }
	:: atomic { r == NR ->
		if
		:: ep == e && (act & ~done) == 0 -> acked1 = g; assert(GOOD(0) && GOOD(1) && GOOD(2))   /* A1 */
		:: else
		fi;
		break }
	od;
	/* a replica that was evicted is deleted, created again, filled, promoted: in the order of metad's commits */
	do
	:: atomic { ep == e && act != 7 && commit < 2 ->
		if
		:: !HAS(act, 0) -> r = 0
		:: !HAS(act, 1) -> r = 1
		:: !HAS(act, 2) -> r = 2
		fi;
		commit++; del[r] = commit; commit++ }
		if
		:: atomic { ep == e && !HAS(act, r) && newest == e && (act & ~done) == 0 && commit > made[r] ->
			/* CREATE and all that fills it, up to PROMOTE */
			ref = (HAS(act, 0) -> 0 : (HAS(act, 1) -> 1 : 2));
			if
			:: fence[ref] == e && fence[r] <= e ->
				made[r] = commit; here[r] = true; fence[r] = e; mend[r] = false;
				a[r] = a[ref]; b[r] = b[ref]; pos[r] = pos[ref]; ADD(act, r); ADD(done, r);
				assert(GOOD(0) && GOOD(1) && GOOD(2))
			:: else
			fi }
		:: true
		fi
	:: break
	od;
over:	skip
}

/* The next owner may be let in at any time; a DELETE arrives at any time, as often as it likes. */
proctype World() {
	byte r;
end:	do
	:: atomic { ep < MAXEP -> ep++ }
	:: atomic {
		if
		:: r = 0
		:: r = 1
		:: r = 2
		fi;
		if
#ifdef M_DELETE_LATE            /* a chunk server carries out a DELETE whatever it has carried out since */
		:: del[r] != 0 ->
#else
		:: del[r] > made[r] ->
#endif
			here[r] = false; made[r] = (del[r] > made[r] -> del[r] : made[r]); pos[r] = 0; a[r] = 0; b[r] = 0;
			assert(GOOD(0) && GOOD(1) && GOOD(2))
		:: else
		fi;
		r = 0 }
	od
}

init {
	byte r, n, least;

	atomic {
		least = 3;
		do
		:: r < NR ->
			here[r] = true;
			if
			:: n = 0
			:: n = 1
			:: n = 2
			:: n = 3
			fi;
			pos[r] = n; a[r] = (n == 3 -> 3 : (n > 0 -> 1 : 0)); b[r] = (n >= 2 -> 2 : 0);
			least = (n < least -> n : least);
			r++
		:: else -> break
		od;
		acked0 = (least == 3 -> 3 : (least > 0 -> 1 : 0)); acked1 = (least >= 2 -> 2 : 0);
		run World(); run Owner(1); run Owner(2);
#if MAXEP > 2
		run Owner(3)
#endif
	}
}
