#!/usr/bin/env bash
# io_timeout: with too few chunk servers requests fail after it; without one they wait; and when the chunk servers are back everything
# goes on.
# limit: 180
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create disk --size 1G
serve disk nbd.sock io_timeout=4
qemu-io -f raw -c "write -P 1 0 64k" "$URI"

say "two of three chunk servers are gone"
cluster_kill chunkd-1
cluster_kill chunkd-2
expect_failure "Input/output error" qemu-io -f raw -c "write -P 2 64k 64k" "$URI"

say "they are back"
cluster_restart
qemu-io -f raw -c "write -P 3 128k 64k" "$URI"
qemu-io -f raw -c "read -P 1 0 64k" -c "read -P 3 128k 64k" "$URI"
end_server "$SERVER_PID"

say "by default requests wait"
serve disk nbd.sock
cluster_kill chunkd-1
cluster_kill chunkd-2
qemu-io -f raw -c "write -P 4 192k 64k" "$URI" >"$T/held.out" 2>&1 &
held=$!
on_exit "kill $held"
held_is_shown() { copyhold status --json | jq -e '.servers.alive == 1 or .health != "ok"'; }
wait_for 30 "status shows that chunk servers are gone" held_is_shown
process_is_alive $held || fail "a request failed by default: $(cat "$T/held.out")"
cluster_restart
wait $held || fail "the request that waited failed: $(cat "$T/held.out")"
qemu-io -f raw -c "read -P 4 192k 64k" "$URI"
end_server "$SERVER_PID"
wait_until_healthy 90
check_replicas
