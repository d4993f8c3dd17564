#!/usr/bin/env bash
# Bytes flipped in the data files, other blocks on each chunk server: reads stay right, and the damage is repaired from the others.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create disk --size 64M --chunk-size 64M
# Each block names itself, so that it can be found in the data files.
(seq -f 'block %010.0f here, and nothing else ---------------------------' 0 524287 2>/dev/null || true) | head -c $((32 * 1024 * 1024)) >"$T/image"
serve disk nbd.sock
nbdcopy "$T/image" "$URI"
end_server "$SERVER_PID"
copyhold playground stop --dir "$PLAYGROUND"

flip() { # FILE NUMBER: damages every copy of that line in FILE
	local offsets offset
	offsets=$(grep -aobF "$(printf 'block %010d here' "$2")" "$1" | cut -d : -f 1)
	[ -n "$offsets" ] || fail "line $2 is not in $1"
	for offset in $offsets; do
		printf '\377' | dd of="$1" bs=1 seek="$offset" conv=notrunc status=none
	done
}
for server in 1 2 3; do
	for i in $(seq 0 9); do
		flip "$PLAYGROUND/chunkd-$server.disk" $((1000 + i * 20000 + server * 5000))
	done
done
say "30 blocks damaged, 10 on each chunk server"
cluster_restart
serve disk nbd.sock
nbdcopy "$URI" "$T/back"
cmp -n $((32 * 1024 * 1024)) "$T/image" "$T/back" || fail "wrong bytes were returned"
say "all reads are right"
for server in 1 2 3; do process_is_alive "$(cluster_pid chunkd-$server)" || fail "chunkd-$server died of it"; done
end_server "$SERVER_PID"
wait_until_healthy
