#!/usr/bin/env bash
# A meta service that was put back on an older copy of its store: it notices by what the chunk servers have seen, changes nothing until
# an operator confirms, and goes on with numbers above all that were used.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
store=$PLAYGROUND/metad/meta.db
write() { qemu-io -f raw -c "write -P $2 $3 64k" "$1" | grep -q '^wrote'; }
read_back() { qemu-io -f raw -c "read -P $2 $3 64k" "$1" | grep -q '^read'; }
end_metad() { kill_process TERM "$(cluster_pid metad)" && wait_for 20 "metad ends" metad_is_gone; }
metad_is_gone() { ! cluster_pid metad; }
doubts() { copyhold status --json | jq -e '.health == "error" and (.problems[].hint | contains("meta confirm"))'; }

say "a volume, and a copy of the store"
copyhold volume create early --size 1G --chunk-size 4M
serve early early.sock
write "$URI" 0x11 0
end_server "$SERVER_PID"
end_metad
cp "$store" "$T/old.db"
cluster_restart

say "the cluster goes on: more chunks, more leases"
serve early early.sock
write "$URI" 0x22 8M
write "$URI" 0x33 4k
end_server "$SERVER_PID"

say "the old copy is put back"
end_metad
rm -f "$store-wal"
cp "$T/old.db" "$store"
cluster_restart
wait_for 30 "the doubt shows" doubts
expect_failure "older than the cluster" copyhold volume create late --size 1G
expect_failure "older than the cluster" copyhold volume delete early
expect_failure "--force" copyhold meta confirm

say "confirmed"
copyhold meta confirm --force
expect_failure "no doubt" copyhold meta confirm --force
serve early early.sock
read_back "$URI" 0x33 4k
read_back "$URI" 0x00 8M # its chunk was forgotten with the newer store
write "$URI" 0x44 8M
read_back "$URI" 0x44 8M
end_server "$SERVER_PID"
copyhold volume create late --size 1G
wait_until_healthy
