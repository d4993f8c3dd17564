#!/usr/bin/env bash
# Bad input is answered with an error that says what is wrong, and changes nothing.
# limit: 90
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create disk --size 64M
before=$(copyhold volume list --json)

say "sizes"
expect_failure "4 KiB|4096" copyhold volume create bad --size 5000
expect_failure "4 KiB|0|empty" copyhold volume create bad --size 0
expect_failure "8 EiB" copyhold volume create bad --size 8E
expect_failure "8 EiB" copyhold volume create bad --size 99999999999999999999
expect_failure "not a size" copyhold volume create bad --size ten
expect_failure "power of two|chunk" copyhold volume create bad --size 1G --chunk-size 5M
expect_failure "--size" copyhold volume create bad

say "names"
for name in "" "a b" "../up" "a/b" $'new\nline' "ümlaut" "a@b" "-dash" "$(printf 'x%.0s' $(seq 64))"; do
	expect_failure "name" copyhold volume create --size 1G -- "$name"
done
expect_failure "exists|already" copyhold volume create disk --size 1G

say "replicas"
expect_failure "chunk server" copyhold volume create bad --size 1G --replicas 4
expect_failure "replica" copyhold volume create bad --size 1G --replicas 0
expect_failure "replica" copyhold volume create bad --size 1G --replicas 3 --min-replicas 4

say "things that aren't there"
expect_failure "nothere" copyhold volume show nothere
expect_failure "nothere" copyhold volume delete nothere
expect_failure "99" copyhold server show 99
expect_failure "no such chunk" copyhold chunk show 12345
expect_failure "can't be reached" copyhold --meta 127.0.0.1:1 volume list
expect_failure "can't be reached" copyhold --meta nosuchhost.invalid:7400 volume list
expect_failure "no meta service" env -u COPYHOLD_META copyhold volume list
expect_failure "nothere" timeout 30 nbdkit -f -U - "$BUILD/nbdkit-copyhold-plugin.so" "meta=$COPYHOLD_META" volume=nothere --run 'nbdinfo "$uri"'
expect_failure "meta" env -u COPYHOLD_META nbdkit -f -U - "$BUILD/nbdkit-copyhold-plugin.so" volume=disk --run 'nbdinfo "$uri"'
expect_failure "colour" nbdkit -f -U - "$BUILD/nbdkit-copyhold-plugin.so" "meta=$COPYHOLD_META" volume=disk colour=red --run 'nbdinfo "$uri"'

say "errors for programs"
copyhold --json volume show nothere >"$T/error" && fail "succeeded"
jq -e '.error | (.code == "NOT_FOUND") and (.message | length > 0) and (.hint | length > 0)' "$T/error" || fail "$(cat "$T/error")"
rc=0
copyhold --json volume frobnicate >"$T/error" || rc=$?
expect_equal "exit code of bad usage" $rc 2
jq -e '.error.code == "USAGE"' "$T/error" || fail "$(cat "$T/error")"

say "a configuration file that isn't right"
mkdir -p "$XDG_CONFIG_HOME/copyhold"
printf '[copyhold]\nmetta = x\n' >"$XDG_CONFIG_HOME/copyhold/copyhold.conf"
expect_failure "line 2" env -u COPYHOLD_META copyhold volume list
printf '[copyhold]\nmeta = %s\n' "$COPYHOLD_META" >"$XDG_CONFIG_HOME/copyhold/copyhold.conf"
env -u COPYHOLD_META copyhold volume list

expect_equal "the volumes" "$(copyhold volume list --json)" "$before"
