#!/usr/bin/env bash
# Garbage and over-long frames on every listening socket: that connection is closed, the others don't notice.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create disk --size 1G
serve disk nbd.sock
nbd-journal write "$URI" "$T/journal" seconds=60 depth=4 >"$T/load" &
load=$!
on_exit "kill $load"
wait_for 20 "the load runs" journal_grows "$T/journal"

header() { # BODY_BYTES CRC: type HELLO, id 1, no payload, all in hexadecimal as it goes over the wire
	printf '43484631 01 00 0100 0100000000000000 %s 00000000 00000000 00000000 00000000 %s' "$1" "$2" | tr -d ' ' |
		sed 's/../\\x&/g'
}
# name and bytes, in printf's notation
cases=(
	"text" "GET /index.html HTTP/1.0\r\nUser-Agent: somebody else\r\n\r\n"
	"zeros" "$(printf '\\0%.0s' $(seq 64))"
	"body of 2 GiB" "$(header ffffff7f 00000000)"
	"body of 2 GiB, header right" "$(header ffffff7f ba7bf5db)"
	"body that does not match its checksum" "$(header 04000000 700ac63c)abcd"
)
# send NAME nc-arguments: the peer must close the connection.
send() {
	local name=$1 rc=0
	shift
	timeout 15 nc "$@" <"$T/garbage" >/dev/null 2>"$T/nc" || rc=$?
	[ $rc -ne 124 ] || fail "$name to $*: the connection stays open"
}
addresses=$(copyhold playground status --dir "$PLAYGROUND" --json | jq -r '.processes[].address')
for ((i = 0; i < ${#cases[@]}; i += 2)); do
	# shellcheck disable=SC2059
	printf "${cases[i + 1]}" >"$T/garbage"
	for address in $addresses; do
		send "${cases[i]}" "${address%:*}" "${address#*:}"
	done
	for socket in "$PLAYGROUND"/chunkd-*.sock; do
		send "${cases[i]}" -U "$socket"
	done
done
head -c 100000 /dev/urandom >"$T/garbage"
for address in $addresses; do send "noise" "${address%:*}" "${address#*:}"; done

cluster_is_healthy || fail "$(copyhold status)"
process_is_alive $load || fail "the load ended: $(cat "$T/load")"
kill $load
wait $load || fail "a write failed: $(cat "$T"/*.out "$T/load" 2>/dev/null)"
nbd-journal verify "$URI" "$T/journal"
