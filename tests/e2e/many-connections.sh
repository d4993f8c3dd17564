#!/usr/bin/env bash
# 16 connections to one export at a time: each sees what the others wrote.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create disk --size 1G
serve disk nbd.sock
nbd-journal write "$URI" "$T/journal" seconds=5 connections=16 depth=128 || fail "a connection failed"
nbd-journal verify "$URI" "$T/journal"
nbdcopy --connections=16 --requests=64 "$URI" "$T/image"
nbdcopy --connections=16 --requests=64 "$T/image" "$URI"
nbd-journal verify "$URI" "$T/journal"
end_server "$SERVER_PID"
wait_until_healthy
check_replicas
