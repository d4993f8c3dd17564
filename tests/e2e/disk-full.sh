#!/usr/bin/env bash
# Full chunk servers: writes are refused with ENOSPC, reads go on, a discard makes room, and writes go on.
# limit: 150
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start --size 512M
copyhold volume create disk --size 2G --chunk-size 64M
serve disk nbd.sock
say "writing until it is full"
written=0
for ((at = 0; at < 1024; at += 16)); do
	qemu-io -f raw -c "write -P 5 ${at}M 16M" "$URI" >"$T/io" 2>&1 || true
	grep -q "wrote" "$T/io" || break
	written=$((at + 16))
done
[ $written -gt 32 ] || fail "full after $written MiB"
grep -qi "no space" "$T/io" || fail "the error is not ENOSPC: $(cat "$T/io")"
say "full after $written MiB"

say "reads go on"
qemu-io -f raw -r -c "read -P 5 0 ${written}M" "$URI" | tee "$T/io"
grep -q "^read $((written * 1048576))/" "$T/io" || fail "reading failed"
grep -q "verification failed" "$T/io" && fail "it reads something else"
copyhold status --json | jq -e '.health != "ok"' || fail "status does not tell: $(copyhold status)"

say "a discard makes room"
qemu-io -f raw -c "discard 0 32M" "$URI"
room() { qemu-io -f raw -c "write -P 6 0 16M" "$URI" 2>&1 | grep -q wrote; }
wait_for 60 "writing goes on" room
qemu-io -f raw -r -c "read -P 6 0 16M" -c "read -P 5 32M $((written - 32))M" "$URI" | tee "$T/io"
grep -q "verification failed" "$T/io" && fail "it reads something else"
end_server "$SERVER_PID"
check_replicas
