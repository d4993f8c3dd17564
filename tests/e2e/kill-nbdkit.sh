#!/usr/bin/env bash
# SIGKILL of nbdkit under load, three times: what it acknowledged is there when another one serves the volume.
# limit: 180
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create disk --size 1G
for round in 1 2 3; do
	wait_until_free disk
	serve disk nbd.sock
	[ "$round" = 1 ] || nbd-journal verify "$URI" "$T/journal" || fail "acknowledged writes are lost"
	nbd-journal write "$URI" "$T/journal" seconds=30 connections=2 >"$T/written" &
	writer=$!
	wait_for 30 "writes are acknowledged" journal_grows "$T/journal"
	say "round $round: SIGKILL of nbdkit"
	kill_process KILL "$SERVER_PID"
	rc=0
	wait $writer || rc=$?
	expect_equal "exit of the writer" $rc 3
	say "$(cat "$T/written")"
done
wait_until_free disk
serve disk nbd.sock
nbd-journal verify "$URI" "$T/journal" || fail "acknowledged writes are lost"
end_server "$SERVER_PID"
wait_until_healthy
check_replicas
