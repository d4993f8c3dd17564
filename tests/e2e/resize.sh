#!/usr/bin/env bash
# A volume grows while it is attached: the next connection sees the new size, and IO beyond the old end works. It shrinks only when it
# is detached and with --force if data would be lost; what was cut off is deleted, and reads as zeros when the volume has grown again.
# Renaming.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create v --size 16M --chunk-size 4M
size() { copyhold volume show v --json | jq .volume.size_bytes; }
chunks() { copyhold volume show v --json | jq .volume.chunk_count; }
must_io() {
	qemu-io -f raw "$@" | tee "$T/io"
	! grep -qE "verification failed|failed:|error" "$T/io" || fail "qemu-io $*"
}

say "growing while it is attached"
serve v nbd.sock
must_io -c "write -P 1 0 4M" -c "write -P 4 12M 4M" "$URI"
# One connection stays, with the old size; its process serves the new one as well.
mkfifo "$T/go"
qemu-io -f raw "$URI" <"$T/go" >"$T/old" 2>&1 &
old=$!
exec 5>"$T/go"
echo length >&5
wait_for 20 "a client is connected" grep -q "16 MiB" "$T/old"
expect_equal "its size as the command tells it" "$(copyhold volume resize v --size 24M --json | jq .volume.size_bytes)" $((24 << 20))
grown() { [ "$(nbdinfo --size "$URI")" = $((24 << 20)) ]; }
wait_for 5 "a new connection sees the new size" grown
must_io -c "read -P 0 16M 8M" -c "write -P 6 20M 4M" -c "read -P 6 20M 4M" "$URI"
expect_failure "is attached and can.t be made smaller" copyhold volume resize v --size 8M --force
expect_failure "is attached and can.t be renamed" copyhold volume rename v w
echo "read -P 4 12M 4M" >&5
exec 5>&-
wait "$old" || fail "the old connection was harmed"
grep -q "read 4194304/4194304" "$T/old" && ! grep -q "verification failed" "$T/old" || fail "the old connection was harmed: $(cat "$T/old")"
end_server "$SERVER_PID"

say "shrinking"
expect_failure "2 chunks.*--force|--force.*2 chunks" bash -c 'copyhold volume resize v --size 12M 2>&1 | tr "\n" " "; exit 1'
expect_equal "its size after the refusal" "$(size)" $((24 << 20))
expect_failure "inside one|next size" copyhold volume resize v --size 14M --force
expect_failure "multiple of 4096" copyhold volume resize v --size 12583000 --force
allocated() { [ "$(copyhold volume show v --json | jq .volume.allocated_bytes)" -ge $((12 << 20)) ]; }
wait_for 90 "the space is taken" allocated
copyhold volume resize v --size 12M --force
expect_equal "its size" "$(size)" $((12 << 20))
expect_equal "its chunks" "$(chunks)" 1
# All that is left on the chunk servers is the first chunk: 4 MiB, three times.
freed() { [ "$(copyhold status --json | jq .used_bytes)" -lt $((3 * 8 << 20)) ]; }
wait_for 90 "the space is given back" freed
gone() { copyhold volume list --json | jq -e '.volumes | length == 1'; }
wait_for 90 "the deleted chunks are forgotten" gone

say "growing again: zeros where data was"
copyhold volume resize v --size 24M
serve v nbd.sock
must_io -c "read -P 1 0 4M" -c "read -P 0 4M 20M" "$URI"
end_server "$SERVER_PID"

say "renaming"
copyhold volume create taken --size 4M
expect_failure "exists" copyhold volume rename v taken
copyhold volume rename v w
expect_failure "no volume" copyhold volume show v
serve w nbd.sock
must_io -c "read -P 1 0 4M" "$URI"
end_server "$SERVER_PID"
check_replicas
