#!/usr/bin/env bash
# The meta service stopped for 30 s under load: IO on leased chunks doesn't notice.
# limit: 240
# alone
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create disk --size 1G
serve disk nbd.sock
# The last connection that closes gives the volume and its leases back: one stays open, as a mounted one would.
mkfifo "$T/commands"
exec 8<>"$T/commands"
qemu-io -f raw "$URI" <"$T/commands" >/dev/null 2>&1 &
on_exit "kill $!"
load() { nbd-journal write "$URI" "$T/journal" "seconds=$1" depth=2; }

say "taking every lease, then measuring without any trouble"
load 3
load 15 | tee "$T/baseline"
metad=$(cluster_pid metad)
baseline=$(jq .longest_ms "$T/baseline")
# What the machine itself does to the slowest request isn't metad's: it doesn't come again when all is done again.
for try in 1 2; do
	kill_process STOP "$metad"
	say "metad stopped for 30 s"
	load 30 | tee "$T/stopped" || fail "IO failed while metad was stopped"
	kill_process CONT "$metad"
	load 10 | tee "$T/after" || fail "IO failed after metad went on"
	slow=
	for phase in stopped after; do
		longest=$(jq .longest_ms "$T/$phase")
		[ "$longest" -le $((baseline + 100)) ] ||
			slow="the longest write took $longest ms ($phase), $baseline ms without trouble"
	done
	[ -n "$slow" ] || break
	say "try $try: $slow"
done
[ -z "$slow" ] || fail "$slow"
nbd-journal verify "$URI" "$T/journal"
wait_until_healthy
