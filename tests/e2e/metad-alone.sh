#!/usr/bin/env bash
# copyhold-metad by itself: options, its directory, what it refuses to start on, an end in order, and a cluster that is the same
# after a kill.
# limit: 60
. "$(dirname "$0")/../lib/e2e.sh"

# start DIR [option]...: sets METAD_PID; the log is DIR.log.
start() {
	local dir=$1
	shift
	: >"$dir.log"
	copyhold-metad --data "$dir" --listen 127.0.0.1:0 "$@" >>"$dir.log" 2>&1 &
	METAD_PID=$!
	on_exit "kill -9 $METAD_PID"
	wait_for 20 "metad is ready" is_ready "$dir" "$METAD_PID"
}
is_ready() {
	process_is_alive "$2" || fail "metad ended: $(cat "$1.log")"
	grep -q '^ready:' "$1.log"
}
cluster_of() { sed -n 's/^ready: meta service of cluster \([0-9a-f-]*\) .*/\1/p' "$1.log"; }
address_of() { sed -n 's/^ready: .* listens at \(.*\)$/\1/p' "$1.log"; }
expect_usage_error() {
	local rc=0
	copyhold-metad "$@" >/dev/null 2>&1 || rc=$?
	[ "$rc" -eq 2 ] || fail "copyhold-metad $*: exit $rc, not 2"
}

say "options"
copyhold-metad --version | grep -q '^copyhold-metad [0-9]'
copyhold-metad --help | grep -q -- '--data DIR'
expect_failure "--data DIR is missing" copyhold-metad
expect_usage_error
expect_usage_error --data "$T/m" --colour
expect_usage_error --data "$T/m" extra
expect_failure "listen" copyhold-metad --data "$T/m0" --listen nonsense

say "configuration file"
printf '[chunkd]\nanything = goes\n[meta]\nscan_ms = 1000\ndata = %s/from-file\n' "$T" >"$T/good.conf"
printf '[meta]\nscan_ms = soon\n' >"$T/bad-number.conf"
printf '[meta]\ncolour = red\n' >"$T/bad-name.conf"
expect_failure "line 2: scan_ms = soon" copyhold-metad --config "$T/bad-number.conf" --data "$T/m0"
expect_failure "no setting colour" copyhold-metad --config "$T/bad-name.conf" --data "$T/m0"
expect_failure "nothere.conf" copyhold-metad --config "$T/nothere.conf" --data "$T/m0"

say "an end in order, and the same cluster afterwards"
start "$T/m1"
first=$(cluster_of "$T/m1")
COPYHOLD_META=$(address_of "$T/m1") copyhold status --json | jq -e --arg c "$first" '.cluster == $c'
kill -TERM "$METAD_PID"
wait "$METAD_PID" || fail "SIGTERM: exit $?"
start "$T/m1"
[ "$(cluster_of "$T/m1")" = "$first" ] || fail "another cluster after a restart"

say "one directory, one metad"
expect_failure "another process uses this store" timeout 20 copyhold-metad --data "$T/m1" --listen 127.0.0.1:0
kill -KILL "$METAD_PID"
wait "$METAD_PID" || true
start "$T/m1" --config "$T/good.conf"
[ "$(cluster_of "$T/m1")" = "$first" ] || fail "another cluster after a kill"
[ ! -e "$T/from-file" ] || fail "the option did not win over the file"

say "directories that are not its own"
mkdir "$T/other"
echo notes >"$T/other/notes.txt"
expect_failure "holds other files" copyhold-metad --data "$T/other" --listen 127.0.0.1:0
[ "$(ls "$T/other")" = notes.txt ] || fail "something was written there"
expect_failure "make the directory" copyhold-metad --data "$T/no/such/parent" --listen 127.0.0.1:0
expect_failure "can't read the directory" copyhold-metad --data "$T/other/notes.txt" --listen 127.0.0.1:0
mkdir "$T/foreign"
head -c 8192 /dev/urandom >"$T/foreign/meta.db"
expect_failure "not a store of a meta service" copyhold-metad --data "$T/foreign" --listen 127.0.0.1:0
