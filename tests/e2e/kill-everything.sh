#!/usr/bin/env bash
# SIGKILL of every process at once under load, and a restart: all that was acknowledged is there.
# limit: 240
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create disk --size 1G
for round in 1 2 3; do
	wait_until_free disk
	serve disk nbd.sock
	[ "$round" = 1 ] || nbd-journal verify "$URI" "$T/journal" || fail "acknowledged writes are lost"
	nbd-journal write "$URI" "$T/journal" seconds=60 depth=64 >"$T/written" &
	writer=$!
	wait_for 30 "writes are acknowledged" journal_grows "$T/journal"
	pids=$(copyhold playground status --dir "$PLAYGROUND" --json | jq -r '.processes[].pid' | tr '\n' ' ')
	say "round $round: SIGKILL of $pids and nbdkit ($SERVER_PID)"
	# shellcheck disable=SC2086
	kill -KILL $pids "$SERVER_PID"
	wait $writer && fail "the writer did not notice"
	say "$(cat "$T/written")"
	for pid in $pids; do wait_for 10 "pid $pid is gone" process_is_gone "$pid"; done
	cluster_restart
done
wait_until_free disk
serve disk nbd.sock
nbd-journal verify "$URI" "$T/journal" || fail "acknowledged writes are lost"
end_server "$SERVER_PID"
wait_until_healthy 90
check_replicas
