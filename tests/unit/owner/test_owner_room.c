/* test_owner_room.c - the owner core where chunk servers are nearly full: whom a write waits for, and when it fails. */
#include "tests/lib/suite.h"
#include "tests/unit/owner/harness.c"

static struct story s;

#define ASKED   "VERSIONS>1; VERSIONS>2; VERSIONS>3"
#define SENT(g) "WRITE(" #g ")>1; WRITE(" #g ")>2; WRITE(" #g ")>3"

START_TEST(no_space_is_said_before_a_generation_is_taken)
{
	story_io(&s);
	s.peers[2].free_bytes = 4096;
	story_write(&s, 0, 8192, 1);
	EXPECT(&s, ASKED);
	story_held(&s, 1, 1, 3, GIB);
	story_held(&s, 2, 1, 3, 4096);
	EXPECT(&s, "");
	story_held(&s, 3, 1, 3, GIB);
	EXPECT(&s, "done 0 NO_SPACE");
	story_request(&s, OWNER_DISCARD, 0, 65536);
	EXPECT(&s, "DISCARD(11)>1; DISCARD(11)>2; DISCARD(11)>3");
	story_end(&s);
}
END_TEST

START_TEST(what_is_there_is_overwritten_without_room)
{
	story_io(&s);
	s.peers[2].free_bytes = 0;
	story_write(&s, 65536, 8192, 1);
	EXPECT(&s, ASKED);
	story_held(&s, 1, 0, 3, 0);
	story_held(&s, 2, 1, 3, 0);
	story_held(&s, 3, 1, 1, 0);
	EXPECT(&s, SENT(11));
	/* Of what is known one needn't ask again; 2 and 3 are not held everywhere. */
	story_write(&s, 65536 + 8192, 8192, 1);
	EXPECT(&s, SENT(12));
	story_write(&s, 131072 - 4096, 8192, 1);
	EXPECT(&s, "");
	story_wrote(&s, 2, 12, WIRE_OK);
	s.peers[2].free_bytes = 0;
	story_wrote(&s, 1, 12, WIRE_OK);
	EXPECT(&s, "");
	s.peers[2].free_bytes = 0;
	story_wrote(&s, 3, 12, WIRE_OK);
	EXPECT(&s, "done 0 OK; done 1 OK; done 2 NO_SPACE");
	story_end(&s);
}
END_TEST

/* A unit that is discarded needs room again. */
START_TEST(a_discard_makes_what_is_held_unknown)
{
	story_io(&s);
	s.peers[1].free_bytes = 0;
	story_write(&s, 0, 4096, 1);
	EXPECT(&s, ASKED);
	story_held(&s, 1, 0, 2, 0);
	story_held(&s, 2, 0, 2, GIB);
	story_request(&s, OWNER_DISCARD, 65536, 65536);
	EXPECT(&s, "DISCARD(11)>1; DISCARD(11)>2; DISCARD(11)>3");
	story_held(&s, 3, 0, 2, GIB);
	EXPECT(&s, ""); /* not before the discard is answered */
	story_end(&s);
}
END_TEST

/* Room is counted in whole units, over what is under way; answers may bring more of it. */
START_TEST(a_write_waits_for_news_of_room)
{
	story_io(&s);
	s.peers[3].free_bytes = 2 * 65536 - 1;
	story_write(&s, 0, 4096, 1);
	EXPECT(&s, SENT(11));
	story_write(&s, 65536, 4096, 1);
	EXPECT(&s, "");
	story_wrote(&s, 3, 11, WIRE_OK);
	EXPECT(&s, SENT(12));
	story_end(&s);
}
END_TEST

/* A peer serves many chunks: what one of them had under way when it lost its lease is not under way for ever. */
START_TEST(a_fenced_owner_promises_nothing)
{
	story_io(&s);
	story_write(&s, 0, 4096, 1);
	story_write(&s, 65536, 4096, 1);
	story_skip(&s);
	ck_assert_uint_eq(s.peers[1].promised_bytes, 2 * 65536);
	ck_assert_uint_eq(s.peers[3].promised_bytes, 2 * 65536);
	story_wrote(&s, 1, 11, WIRE_OK);
	story_wrote(&s, 2, 12, WIRE_FENCED);
	story_skip(&s);
	for (unsigned i = 1; i <= 3; i++)
		ck_assert_uint_eq(s.peers[i].promised_bytes, 0);
	story_end(&s);
}
END_TEST

STORY_MAIN("owner, room", no_space_is_said_before_a_generation_is_taken,
	   what_is_there_is_overwritten_without_room, a_discard_makes_what_is_held_unknown,
	   a_write_waits_for_news_of_room, a_fenced_owner_promises_nothing)
