#!/usr/bin/env bash
# A chunk server with --metadata-memory keeps little of its metadata in memory, counts what it reads again, and loses nothing of it when it is
# killed; another start may do without.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
start() {
	"$BUILD/copyhold-chunkd" run --data "$PLAYGROUND/chunkd-1.disk" --listen "$(cluster_address chunkd-1)" \
		--meta "$COPYHOLD_META" "$@" >>"$T/chunkd-1.log" 2>&1 &
	chunkd=$!
	on_exit "kill $chunkd"
	wait_for 30 "it is up" server_is_up
}
stat() { copyhold server show 1 --json | jq ".server.stats.$1"; }
# The new process, not what metad still remembers of the one before.
server_is_up() { [ "$(stat pid)" = $chunkd ]; }
misses_are_told() { [ "$(stat metadata_misses)" -gt 10 ]; }
must_io() {
	qemu-io -f raw "$@" >"$T/io"
	! grep -qE "verification failed|failed:|error" "$T/io" || fail "qemu-io $*: $(cat "$T/io")"
}

cluster_start --chunk-servers 1
copyhold volume create v --size 64M --chunk-size 4M --replicas 1
for ((i = 0; i < 32; i++)); do
	writes+=(-c "write -P $((i + 1)) $((i * 2))M 4k")
	reads+=(-c "read -P $((i + 1)) $((i * 2))M 4k" -c "read -P 0 $((i * 2 + 1))M 4k")
done

say "with two pages of units in memory, of 32"
cluster_kill chunkd-1
start --metadata-memory 8K
expect_equal "the option, as it is told" "$(stat metadata_memory_bytes)" 8192
serve v nbd.sock
must_io "${writes[@]}" "$URI"
must_io "${reads[@]}" "$URI"
wait_for 10 "misses are told" misses_are_told
[ "$(stat metadata_resident_bytes)" -le 32768 ] || fail "$(stat metadata_resident_bytes) bytes of metadata in memory"

say "killed and started again, with one and without the option"
kill_process KILL $chunkd
start --metadata-memory 1K
must_io "${reads[@]}" "$URI"
kill_process KILL $chunkd
start
must_io "${reads[@]}" "$URI"
expect_equal "misses with all of it in memory" "$(stat metadata_misses)" 0
end_server "$SERVER_PID"
kill_process TERM $chunkd
copyhold-chunkd fsck "$PLAYGROUND/chunkd-1.disk"
expect_failure "metadata-memory much: a size is a number" copyhold-chunkd run --data "$PLAYGROUND/chunkd-1.disk" --metadata-memory much
