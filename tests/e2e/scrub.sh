#!/usr/bin/env bash
# Data that nobody reads rots on one chunk server: a scrub finds it, names it and repairs it, by a chunk server's engine and by that of an
# attachment. Where every copy is bad, the blocks are named, the rest stays readable, and the job ends.
# limit: 240
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start --size 512M
copyhold volume create disk --size 32M --chunk-size 16M
BYTES=$((24 * 1024 * 1024))
(seq -f 'block %010.0f here, and nothing else ---------------------------' 0 599999 2>/dev/null || true) | head -c $BYTES >"$T/image"
serve disk nbd.sock
nbdcopy "$T/image" "$URI"
end_server "$SERVER_PID"

# rot SERVER LINE...: flips a byte in each of these lines, wherever they lie in the data file of that chunk server.
rot() {
	local server=$1 line offset count=0
	shift
	for line in "$@"; do printf 'block %010d here\n' "$line"; done >"$T/lines"
	# shellcheck disable=SC2013 # numbers
	for offset in $(grep -aobF -f "$T/lines" "$PLAYGROUND/chunkd-$server.disk" | cut -d : -f 1); do
		printf '\377' | dd of="$PLAYGROUND/chunkd-$server.disk" bs=1 seek="$offset" conv=notrunc status=none
		count=$((count + 1))
	done
	[ $count -ge $# ] || fail "only $count of $# lines found on chunkd-$server"
}
job() { copyhold job show "$1" --json | jq -e "$2"; }

copyhold playground stop --dir "$PLAYGROUND"
rot 1 1000 100000 350000
cluster_restart
wait_until_healthy

say "nobody is attached: a chunk server's engine does it"
copyhold chunk scrub --wait --json >"$T/job"
jq -e '.job.state == "DONE" and .job.chunks == 2 and .job.chunks_done == 2 and .job.bad == 3 and .job.repaired == 3 and .job.damaged == 0' "$T/job" >/dev/null ||
	fail "the scrub said: $(cat "$T/job")"
copyhold chunk check --detail --json >"$T/check"
jq -e '[.chunks[].scrub | .complete and .age_ms < 60000 and .by != "" and .blocks_read > 0] | all' "$T/check" >/dev/null ||
	fail "chunk check --detail says: $(cat "$T/check")"
copyhold status --json | jq -e '.problems[] | select(.what | test("Chunk server 1 .*: 3 bad blocks were found, 3 of them repaired"))' >/dev/null ||
	fail "status does not name the damage: $(copyhold status)"
repaired() { [ "$(copyhold server show "$1" --json | jq .server.stats.repaired_blocks)" = "$2" ]; }
wait_for 10 "server show counts the repairs" repaired 1 3
copyhold chunk scrub --wait --json | jq -e '.job.bad == 0' >/dev/null || fail "what was repaired is still bad"
expect_failure "no chunk 77" copyhold chunk scrub 77
expect_failure "not a chunk" copyhold chunk scrub x
expect_failure "no job 99" copyhold job show 99
expect_failure "has ended" copyhold job cancel 1

say "attached: the engine that has the leases does it; a paused job waits"
copyhold playground stop --dir "$PLAYGROUND"
rot 2 2000
rot 3 120000
cluster_restart
serve disk nbd.sock
# A client that does not get on keeps the volume attached, and the leases of what it has read.
# shellcheck disable=SC2216 # nobody reads the pipe
nbdcopy "$URI" - 2>/dev/null | sleep 1000 &
READER=$!
on_exit "kill $READER"
leased() { copyhold chunk list --json | jq -e 'any(.chunks[]; .owner != null)'; }
wait_for 30 "the engine has a lease" leased
copyhold chunk scrub --volume disk --json >"$T/job"
JOB=$(jq .job.job "$T/job")
copyhold job pause "$JOB"
grep -q PAUSED <<<"$(copyhold job list)" || fail "job list: $(copyhold job list)"
copyhold job resume "$JOB"
wait_for 60 "job $JOB is done" job "$JOB" '.job.state == "DONE" and .job.damaged == 0'
wait_for 10 "chunk server 2 has repaired a block" repaired 2 1
wait_for 10 "chunk server 3 has repaired a block" repaired 3 1
leased || fail "the scrub has taken the lease from its owner: $(copyhold chunk list)"
kill $READER
wait_for 20 "the volume is detached" is_free disk
end_server "$SERVER_PID"

say "no good copy is left of one block"
copyhold playground stop --dir "$PLAYGROUND"
for server in 1 2 3; do rot $server 5000; done
cluster_restart
wait_until_healthy
expect_failure "damaged" copyhold chunk scrub --wait
copyhold job list --json | jq -e '.jobs[-1] | .state == "DONE" and .damaged == 1' >/dev/null || fail "job list: $(copyhold job list)"
expect_equal "health" "$(copyhold status --json | jq -r .health)" error
copyhold status --json | jq -e '.problems[] | select(.what | test("Volume disk: 1 blocks are damaged beyond repair"))' >/dev/null ||
	fail "status does not name the damage: $(copyhold status)"
expect_failure "damaged in every replica: [0-9]+" copyhold chunk check
block=$((5000 * $(head -n 1 "$T/image" | wc -c) / 4096))
{ copyhold chunk check --detail --json || true; } | jq -e --arg block $block '.chunks[0].scrub.damaged_blocks == $block' >/dev/null ||
	fail "expected block $block: $(copyhold chunk check --detail --json)"

say "the rest can be read; writing it anew heals it"
serve disk nbd.sock
expect_failure "input/output|I/O" nbdcopy "$URI" "$T/back"
# nbdkit 1.32 may have aborted when that client went away with requests under way.
kill "$SERVER_PID" || true
wait "$SERVER_PID" || true
wait_until_free disk
serve disk nbd.sock
nbdcopy "$T/image" "$URI"
nbdcopy "$URI" "$T/back"
cmp -n $BYTES "$T/image" "$T/back" || fail "wrong bytes were returned"
copyhold chunk scrub --wait
expect_equal "damage" "$(copyhold chunk check --json | jq '.problems | length')" 0
for server in 1 2 3; do process_is_alive "$(cluster_pid chunkd-$server)" || fail "chunkd-$server died of it"; done
end_server "$SERVER_PID"
