#!/usr/bin/env bash
# The quickstart itself: twice in a row, then --stop, then --clean; nothing is left.
# limit: 300
. "$(dirname "$0")/../lib/e2e.sh"
need_fuse
on_exit "'$TOP/scripts/quickstart' --dir '$T/qs' --clean"

say "first run"
"$TOP/scripts/quickstart" --dir "$T/qs"
say "second run"
"$TOP/scripts/quickstart" --dir "$T/qs"
pids=$(copyhold playground status --dir "$T/qs" --json | jq -r '.processes[].pid')
mountpoint -q "$T/qs/mnt" || fail "the volume is not mounted at the end"

"$TOP/scripts/quickstart" --dir "$T/qs" --stop
for pid in $pids; do
	process_is_gone "$pid" || fail "pid $pid still runs after --stop"
done
mountpoint -q "$T/qs/mnt" && fail "still mounted after --stop"
expect_equal "attached after --stop" "$(copyhold attached --json | jq '.attached | length')" 0
[ -e "$T/qs/chunkd-1.disk" ] || fail "--stop removed the data"

"$TOP/scripts/quickstart" --dir "$T/qs" --clean
[ ! -e "$T/qs" ] || fail "--clean left $T/qs"
