#!/usr/bin/env bash
# The meta service stopped for 30 s under load: IO on leased chunks doesn't notice.
# limit: 240
# alone
#
# What the machine does to everybody isn't metad's: beside the load a witness makes small durable writes to a file on the same
# filesystem as the chunk servers' disks, which knows nothing of Copyhold. A write through the stack is four processes' turns and several such
# writes: it may take what the slowest one took without trouble, and four times what the witness's slowest one took in the same seconds.
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create disk --size 1G
serve disk nbd.sock
# The last connection that closes gives the volume and its leases back: one stays open, as a mounted one would.
mkfifo "$T/commands"
exec 8<>"$T/commands"
qemu-io -f raw "$URI" <"$T/commands" >/dev/null 2>&1 &
on_exit "kill $!"

# load PHASE SECONDS: sets longest and witness, the slowest writes of both in ms.
load() {
	local fio rc=0
	fio --name=witness --filename="$T/witness" --size=1M --rw=write --bs=4k --direct=1 --sync=dsync --ioengine=psync \
		--thinktime=1000 --time_based --runtime="$2" --output-format=json --output="$T/$1.witness" >/dev/null &
	fio=$!
	nbd-journal write "$URI" "$T/journal" "seconds=$2" depth=2 >"$T/$1" || rc=$?
	wait $fio || fail "the witness failed"
	[ $rc -eq 0 ] || fail "IO failed ($1): $(cat "$T/$1")"
	longest=$(jq .longest_ms "$T/$1")
	witness=$(jq '.jobs[0].write.lat_ns.max / 1000000 | ceil' "$T/$1.witness")
	say "$1: the slowest of $(jq .acknowledged "$T/$1") writes took $longest ms, the witness's $witness ms"
}
check_load() {
	local allowed
	load "$@"
	allowed=$((baseline + 100 + 4 * witness))
	[ "$longest" -le "$allowed" ] || fail "the slowest write took $longest ms ($1), $allowed ms can be the machine's"
}

load "taking every lease" 3
load "without trouble" 15
baseline=$longest
metad=$(cluster_pid metad)
kill_process STOP "$metad"
check_load "metad stopped" 30
kill_process CONT "$metad"
check_load "metad goes on" 10
nbd-journal verify "$URI" "$T/journal"
wait_until_healthy
