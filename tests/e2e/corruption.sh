#!/usr/bin/env bash
# Bytes flipped in the data files, other blocks on each chunk server: reads stay right, and the damage is repaired from the others.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start --size 512M
copyhold volume create disk --size 64M --chunk-size 64M
# Each block names itself, so that it can be found in the data files.
(seq -f 'block %010.0f here, and nothing else ---------------------------' 0 599999 2>/dev/null || true) | head -c $((32 * 1024 * 1024)) >"$T/image"
serve disk nbd.sock
nbdcopy "$T/image" "$URI"
end_server "$SERVER_PID"
copyhold playground stop --dir "$PLAYGROUND"

# Damages ten lines of each chunk server, other ones on each, wherever they lie in its data file.
for server in 1 2 3; do
	for i in $(seq 0 9); do
		printf 'block %010d here\n' $((1000 + i * 20000 + server * 5000))
	done >"$T/lines"
	grep -aobF -f "$T/lines" "$PLAYGROUND/chunkd-$server.disk" | tee "$T/found" | cut -d : -f 1 | while read -r offset; do
		printf '\377' | dd of="$PLAYGROUND/chunkd-$server.disk" bs=1 seek="$offset" conv=notrunc status=none
	done
	expect_equal "lines found on chunkd-$server" "$(cut -d : -f 2 "$T/found" | sort -u | wc -l)" 10
done
say "30 blocks damaged, 10 on each chunk server"
cluster_restart
serve disk nbd.sock
nbdcopy "$URI" "$T/back"
cmp -n $((32 * 1024 * 1024)) "$T/image" "$T/back" || fail "wrong bytes were returned"
say "all reads are right"
for server in 1 2 3; do process_is_alive "$(cluster_pid chunkd-$server)" || fail "chunkd-$server died of it"; done
end_server "$SERVER_PID"

# What the reads met is repaired already; a scrub finds the rest. All of it is counted and named.
named() { copyhold status --json | jq -e '.problems[] | select(.what | test("Chunk server [123] .*: [0-9]+ bad blocks were found, [0-9]+ of them repaired"))'; }
wait_for 10 "status names the damage that the reads met" named
copyhold chunk scrub --wait
repaired() { [ "$(for server in 1 2 3; do copyhold server show $server --json | jq .server.stats.repaired_blocks; done | paste -sd +)" = 10+10+10 ]; }
wait_for 10 "10 blocks are repaired on each chunk server" repaired
expect_equal "health" "$(copyhold status --json | jq -r .health)" warning
copyhold chunk scrub --wait --json | jq -e '.job.bad == 0' >/dev/null || fail "what was repaired is still bad"
