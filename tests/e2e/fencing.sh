#!/usr/bin/env bash
# Two plugins on one volume: the second is refused and told who holds it; with --force it takes over, and the first one fails
# with a clear error and changes nothing any more.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create disk --size 1G
serve disk first.sock
first=$URI first_pid=$SERVER_PID
nbd-journal write "$first" "$T/journal-1" seconds=60 >"$T/first.out" &
writer=$!
on_exit "kill $writer"
wait_for 30 "the first one writes" journal_grows "$T/journal-1"

say "a second plugin without force"
expect_failure "attached already.*pid $first_pid" timeout 30 nbdkit -f -U - "$BUILD/nbdkit-copyhold-plugin.so" volume=disk \
	--run 'nbdinfo "$uri"'
wait_for 30 "the first one is not disturbed" journal_grows "$T/journal-1"

say "taking over with force, under load"
serve disk second.sock force=1
second=$URI
nbdinfo --size "$second"
rc=0
wait $writer || rc=$?
expect_equal "exit of the fenced writer" $rc 3
say "the fenced one: $(cat "$T/first.out")"
grep -i "fenced\|by force\|taken" "$T/first.sock.nbdkit.log" || fail "the fenced plugin does not say what happened"
nbd-journal verify "$second" "$T/journal-1" || fail "what the first one had acknowledged is lost"

say "the fenced plugin changes nothing while the second one holds the volume"
# The same journal goes on: a late write of the fenced plugin over a later one would show.
nbd-journal write "$second" "$T/journal-1" seconds=60 >"$T/second.out" &
writer=$!
on_exit "kill $writer"
wait_for 30 "the second one writes" journal_grows "$T/journal-1"
expect_failure "." nbd-journal write "$first" "$T/journal-2" count=50
wait_for 30 "the second one is not disturbed" journal_grows "$T/journal-1"
kill $writer
wait $writer || fail "a write failed: $(cat "$T"/*.out "$T/load" 2>/dev/null)"
nbd-journal verify "$second" "$T/journal-1" || fail "the fenced plugin changed something"
