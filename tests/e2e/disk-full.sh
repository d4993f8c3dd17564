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
[ $written -gt 96 ] || fail "full after $written MiB"
grep -qi "no space" "$T/io" || fail "the error is not ENOSPC: $(cat "$T/io")"
say "full after $written MiB"

say "reads go on"
qemu-io -f raw -r -c "read -P 5 0 ${written}M" "$URI" | tee "$T/io"
grep -q "^read $((written * 1048576))/" "$T/io" || fail "reading failed"
grep -q "verification failed" "$T/io" && fail "it reads something else"
copyhold status --json | jq -e '.health != "ok"' || fail "status does not tell: $(copyhold status)"

say "what is there can be overwritten: blocks, whole units, a mebibyte off their edges"
overwrite() { qemu-io -f raw -c "write -P $1 $2 $3" "$URI" >"$T/io" 2>&1 && grep -q "^wrote" "$T/io"; }
for ((at = 0; at < 24; at++)); do
	overwrite 7 "$((at * 1024 + 4))k" 4k || fail "overwriting 4 KiB at $at MiB: $(cat "$T/io")"
	overwrite 8 "$((at * 1024 + 512))k" 64k || fail "overwriting a unit at $at MiB: $(cat "$T/io")"
done
for ((at = 24; at < 40; at += 2)); do
	overwrite 9 "$((at * 1024 + 20))k" 1M || fail "overwriting 1 MiB at $at MiB: $(cat "$T/io")"
done
qemu-io -f raw -r -c "read -P 7 $((5 * 1024 + 4))k 4k" -c "read -P 8 $((5 * 1024 + 512))k 64k" \
	-c "read -P 9 $((26 * 1024 + 20))k 1M" -c "read -P 5 $((27 * 1024 + 20))k 1M" "$URI" | tee "$T/io"
grep -q "verification failed" "$T/io" && fail "it reads something else"
overwrite 5 "$((written + 32))M" 16M && fail "new data is taken although the disks are full"
[ "$(copyhold chunk list --json | jq '[.chunks[].replicas[] | select(.state != "ACTIVE")] | length')" = 0 ] ||
	fail "a replica was left out: $(copyhold chunk list)"

say "a discard makes room"
qemu-io -f raw -c "discard 0 32M" "$URI"
room() { qemu-io -f raw -c "write -P 6 0 16M" "$URI" 2>&1 | grep -q wrote; }
wait_for 60 "writing goes on" room
qemu-io -f raw -r -c "read -P 6 0 16M" -c "read -P 5 48M $((written - 48))M" "$URI" | tee "$T/io"
grep -q "verification failed" "$T/io" && fail "it reads something else"

say "two volumes fill the rest at once, and no replica is left out"
FIRST_PID=$SERVER_PID FIRST_URI=$URI
copyhold volume create other --size 1G --chunk-size 64M
qemu-io -f raw -c "discard 48M 48M" "$FIRST_URI"
serve other nbd2.sock
fill() { # URI FROM
	local at
	for ((at = $2; at < 1024; at++)); do
		qemu-io -f raw -c "write -P 3 ${at}M 1M" -c "write -P 3 ${at}M 4k" "$1" 2>&1 | grep -q wrote || return 0
	done
}
fill "$URI" 0 &
FILL_PID=$!
fill "$FIRST_URI" "$written"
wait "$FILL_PID"
[ "$(copyhold chunk list --json | jq '[.chunks[].replicas[] | select(.state != "ACTIVE")] | length')" = 0 ] ||
	fail "a replica was left out: $(copyhold chunk list)"
end_server "$SERVER_PID"
end_server "$FIRST_PID"
check_replicas
