#!/usr/bin/env bash
# Daemons refuse what they can't serve, with an error that says what and why: ports in use, foreign, truncated or damaged data
# files, the disk of another cluster.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start --chunk-servers 1 --size 1G
meta=$COPYHOLD_META
run_chunkd() { timeout 20 copyhold-chunkd run --data "$1" --listen "${2:-127.0.0.1:0}" --meta "$meta" --local "unix:$T/x.sock"; }

say "ports in use"
expect_failure "in use" timeout 20 copyhold-metad --data "$T/other-metad" --listen "$meta"
copyhold-chunkd format "$T/fresh.disk" --size 1G
expect_failure "in use" run_chunkd "$T/fresh.disk" "$meta"

say "a playground whose ports are taken picks others and says so"
port=$((20000 + $$ % 2000 * 16))
copyhold playground start --dir "$T/second" --port $port --chunk-servers 1 2>"$T/second.out"
on_exit "copyhold playground stop --dir '$T/second'"
grep -q "port $port is in use" "$T/second.out" || fail "it does not say which port: $(cat "$T/second.out")"

say "a disk of another cluster"
copyhold playground stop --dir "$T/second"
expect_failure "cluster" run_chunkd "$T/second/chunkd-1.disk"

say "files that are no disks"
head -c 1048576 /dev/urandom >"$T/foreign.disk"
expect_failure "not a copyhold|foreign" run_chunkd "$T/foreign.disk"
: >"$T/empty.disk"
expect_failure "not a copyhold|empty|truncated|small" run_chunkd "$T/empty.disk"
expect_failure "no such file" run_chunkd "$T/nothere.disk"
cp --sparse=always "$T/fresh.disk" "$T/truncated.disk"
truncate -s 500M "$T/truncated.disk"
expect_failure "truncated|smaller|shorter" run_chunkd "$T/truncated.disk"

say "formatting does not overwrite"
expect_failure "exist|already|formatted|in use" copyhold-chunkd format "$PLAYGROUND/chunkd-1.disk" --size 1G
expect_failure "size|small" copyhold-chunkd format "$T/tiny.disk" --size 4096

say "two chunk servers on one disk"
expect_failure "in use|locked|another" run_chunkd "$PLAYGROUND/chunkd-1.disk"
say "the cluster has not noticed"
cluster_is_healthy || fail "$(copyhold status)"
