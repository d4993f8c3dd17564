#!/usr/bin/env bash
# A fresh 10 TiB volume takes no space and reads as zeros; discard gives space back.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
used() { copyhold status --json | jq .used_bytes; }
wait_for 20 "the used space is reported" used
before=$(used)
copyhold volume create huge --size 10T
serve huge nbd.sock
expect_equal "size" "$(nbdinfo --size "$URI")" $((10 * 1024 * 1024 * 1024 * 1024))
expect_equal "its chunks" "$(copyhold volume show huge --json | jq .volume.chunk_count)" 0
expect_equal "its extents" "$(nbdinfo --map --totals "$URI" | awk '{print $1, $3}')" "$((10 * 1024 * 1024 * 1024 * 1024)) 3"

say "its first and last MiB are zeros, and reading them allocates nothing"
qemu-io -f raw -r -c "read -P 0 0 1M" -c "read -P 0 $((10 * 1024 * 1024 - 1))M 1M" "$URI"
expect_equal "chunks after reading" "$(copyhold volume show huge --json | jq .volume.chunk_count)" 0
expect_equal "used space" "$(used)" "$before"

say "256 MiB written at the end, then discarded"
last=$((10 * 1024 * 1024 - 1024))
qemu-io -f raw -c "write -P 7 ${last}M 256M" -c "read -P 7 ${last}M 256M" "$URI" | tee "$T/io"
grep -q "verification failed" "$T/io" && fail "it reads something else"
grew() { [ "$(used)" -ge $((before + 3 * 256 * 1024 * 1024)) ]; }
wait_for 90 "the space is taken" grew
qemu-io -f raw -c "discard ${last}M 256M" -c "read -P 0 ${last}M 256M" "$URI" | tee "$T/io"
grep -q "verification failed" "$T/io" && fail "discarded space does not read as zeros"
shrank() { [ "$(used)" -lt $((before + 16 * 1024 * 1024)) ]; }
wait_for 90 "the space is given back" shrank
end_server "$SERVER_PID"

say "deleting it"
copyhold volume delete huge
expect_failure "no volume|not found|unknown|huge" copyhold volume show huge
