#!/usr/bin/env bash
# Two plugins on one volume: the second is refused and told who holds it; with --force it takes over, and the first one fails
# with a clear error and changes nothing any more.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create disk --size 1G
serve disk first.sock
first=$URI first_pid=$SERVER_PID
nbd-journal write "$first" "$T/journal-1" count=500

say "a second plugin without force"
expect_failure "pid $first_pid|attached by|held by" timeout 30 nbdkit -f -U "$T/refused.sock" \
	"$BUILD/nbdkit-copyhold-plugin.so" "meta=$COPYHOLD_META" volume=disk --run 'nbdinfo "$uri"'
nbd-journal write "$first" "$T/journal-1" count=100 || fail "the holder was disturbed by the refused one"

say "taking over with force, under load"
nbd-journal write "$first" "$T/journal-1" seconds=60 >"$T/first.out" &
writer=$!
wait_for 30 "the first one writes" journal_grows "$T/journal-1"
serve disk second.sock force=1
second=$URI
nbd-journal verify "$second" "$T/journal-1" && wait_for 60 "the first writer has failed" process_is_gone $writer
rc=0
wait $writer || rc=$?
expect_equal "exit of the fenced writer" $rc 3
say "the fenced one: $(cat "$T/first.out")"
nbd-journal verify "$second" "$T/journal-1" || fail "what the first one had acknowledged is lost"

say "the fenced one changes nothing"
qemu-img convert -O raw "$second" "$T/before.raw"
nbd-journal write "$first" "$T/journal-2" count=50 && fail "a fenced plugin still acknowledges writes"
expect_failure "." nbdsh_read "$first"
qemu-img compare -f raw -F raw "$T/before.raw" "$second" || fail "the fenced plugin changed something"
grep -iE "taken|fenced|force|another" "$T/first.sock.nbdkit.log" || fail "the fenced plugin does not say what happened"
