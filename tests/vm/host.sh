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
