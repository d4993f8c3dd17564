# What a scenario in the guest can ask of the host: a function host_X answers the line "host: x ARGS". Runs in $dir.
# shellcheck shell=bash disable=SC2154

host_stop_all() {
	local name
	for name in "$dir"/*.pid; do
		[ -e "$name" ] && kill -9 "$(cat "$name")" 2>/dev/null
	done
	return 0
}

host_show_logs() {
	local log
	for log in "$dir"/*.log; do
		[ -s "$log" ] && { echo "--- $(basename "$log")"; tail -20 "$log"; }
	done
	return 0
}

# run NAME COMMAND…: a server in the background, its output in NAME.log, its pid in NAME.pid.
run() {
	local name=$1
	shift
	"$@" >>"$dir/$name.log" 2>&1 5<&- 6<&- &
	echo $! >"$dir/$name.pid"
}

# signal NAME SIGNAL: to a server started with run.
host_signal() { kill "-$2" "$(cat "$dir/$1.pid")"; }

# await COMMAND…: until it succeeds; fails after 20 s.
await() {
	local i
	for ((i = 0; i < 200; i++)); do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.1
	done
	echo "waited in vain for: $*"
	return 1
}

host_true() { :; }

# ---- the cluster: metad on port 7700, chunk server N on 7710 + N ----

export COPYHOLD_META=10.0.2.2:7700

is_ready() { grep -q '^ready' "$dir/$1.log"; }

host_start_metad() {
	: >"$dir/metad.log"
	run metad "$top/build/copyhold-metad" --data "$dir/metad" --listen 0.0.0.0:7700
	await is_ready metad
}

host_start_chunkd() {
	: >"$dir/chunkd-$1.log"
	run "chunkd-$1" "$top/build/copyhold-chunkd" run --data "$dir/chunkd-$1.disk" --listen "0.0.0.0:$((7710 + $1))" \
		--advertise "10.0.2.2:$((7710 + $1))" --host "host-$1" --meta 10.0.2.2:7700
	await is_ready "chunkd-$1"
}

servers_are_up() { [ "$("$top/build/copyhold" --json status | jq .servers.up)" = "$1" ]; }
host_await_servers() { await servers_are_up "$1"; }

host_cluster() {
	local i
	host_start_metad || return 1
	for ((i = 1; i <= $1; i++)); do
		"$top/build/copyhold-chunkd" format "$dir/chunkd-$i.disk" --size 2G || return 1
		host_start_chunkd "$i" || return 1
	done
	host_await_servers "$1"
}

host_kill() { kill -9 "$(cat "$dir/$1.pid")"; }

host_volume() { "$top/build/copyhold" volume create "$1" --size "$2" --chunk-size 16M >/dev/null; }
host_copyhold() { "$top/build/copyhold" "$@"; }
# A number of 'volume show'.
host_volume_number() { "$top/build/copyhold" --json volume show "$1" | jq ".volume.$2"; }

is_healthy() { [ "$("$top/build/copyhold" --json volume show "$1" | jq -r .volume.state)" = healthy ]; }
# Repairs may take a while.
host_await_healthy() {
	local i
	for ((i = 0; i < 6; i++)); do await is_healthy "$1" && return 0; done
	"$top/build/copyhold" volume show "$1"
	"$top/build/copyhold" chunk list --volume "$1"
	return 1
}
