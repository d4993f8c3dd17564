#!/usr/bin/env bash
# table.sh DIRECTORY - the table of one run of bench.sh from its results.csv and floor.csv: medians, ratios, goals, met or not.
set -eu
directory=$1
awk -F, '
function median(key,    i, j, t, n, v) {
	n = count[key]
	for (i = 1; i <= n; i++) v[i] = value[key, i]
	for (i = 1; i < n; i++) for (j = i + 1; j <= n; j++) if (v[j] < v[i]) { t = v[i]; v[i] = v[j]; v[j] = t }
	if (!n) return 0
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}
function add(key, x) { value[key, ++count[key]] = x }
function row(what, ours, theirs, ratio, goal, met) {
	printf "| %s | %s | %s | %.2f | %s | %s |\n", what, ours, theirs, ratio, goal, met ? "met" : "**not met**"
}
function rate(workload) { return median("copyhold" SUBSEP workload SUBSEP (workload ~ /1m/ ? "mb" : "iops")) }
function theirs(workload) { return median(peer SUBSEP workload SUBSEP (workload ~ /1m/ ? "mb" : "iops")) }
function compare(what, workload, goal, unit,    a, b) {
	a = rate(workload); b = theirs(workload)
	if (a && b) row(what, sprintf("%.0f %s", a, unit), sprintf("%.0f %s", b, unit), a / b, "≥ " goal, a / b >= goal)
}
FILENAME ~ /floor.csv$/ { if (FNR > 1) { add("floor" SUBSEP "mean", $7); add("floor" SUBSEP "p99", $8) }; next }
FNR > 1 {
	add($1 SUBSEP $2 SUBSEP "iops", $4); add($1 SUBSEP $2 SUBSEP "mb", $5); add($1 SUBSEP $2 SUBSEP "mean", $6)
	add($1 SUBSEP $2 SUBSEP "p99", $7); add($1 SUBSEP $2 SUBSEP "cpu", $13 * 1000)
	add("foreign", $14)
	if (!($1 in seen)) { seen[$1] = 1; targets[++n] = $1 }
	if (!($2 in known)) { known[$2] = 1; workloads[++w] = $2 }
}
END {
	peer = "quorum3-unix"
	print "| | Copyhold | reference | ratio | goal | |"
	print "|---|--:|--:|--:|--:|---|"
	q1 = "randwrite-4k-qd1"; q32 = "randwrite-4k-qd32"; r32 = "randread-4k-qd32"
	if (m = median("copyhold" SUBSEP q1 SUBSEP "mean")) {
		f = median("floor" SUBSEP "mean"); p = median("copyhold" SUBSEP q1 SUBSEP "p99")
		if (f) row("4 KiB random write, depth 1: mean, beside floor.c", sprintf("%.0f µs", m), sprintf("%.0f µs", f), m / f, "≤ 1.4", m / f <= 1.4)
		row("the same: p99, beside its mean", sprintf("%.0f µs", p), sprintf("%.0f µs", m), p / m, "≤ 3", p / m <= 3)
	}
	compare("4 KiB random write, depth 32 (2 × 16)", q32, 1.75, "/s")
	if (c = median("copyhold" SUBSEP q32 SUBSEP "cpu")) row("the same: CPU of everything per write", sprintf("%.1f µs", c), "38 µs", c / 38, "≤ 1", c <= 38)
	compare("4 KiB random read, depth 1", "randread-4k-qd1", 2.2, "/s")
	compare("4 KiB random read, depth 32 (2 × 16)", r32, 2.8, "/s")
	if (c = median("copyhold" SUBSEP r32 SUBSEP "cpu")) row("the same: CPU of everything per read", sprintf("%.1f µs", c), "13 µs", c / 13, "≤ 1", c <= 13)
	compare("1 MiB sequential write, depth 8", "seqwrite-1m-qd8", 1.4, "MB/s")
	compare("1 MiB sequential read, depth 8", "seqread-1m-qd8", 1.9, "MB/s")
	print "\nMedians of all runs:\n"
	print "| workload | target | IOPS | MB/s | mean µs | p99 µs | CPU µs per request |"
	print "|---|---|--:|--:|--:|--:|--:|"
	for (i = 1; i <= w; i++) for (j = 1; j <= n; j++) {
		k = targets[j] SUBSEP workloads[i]
		printf "| %s | %s | %.0f | %.0f | %.1f | %.1f | %.1f |\n", workloads[i], targets[j], median(k SUBSEP "iops"), median(k SUBSEP "mb"), median(k SUBSEP "mean"), median(k SUBSEP "p99"), median(k SUBSEP "cpu")
	}
	if (count["floor" SUBSEP "mean"]) printf "| randwrite-4k-qd1 | floor.c sync 3 3 1 | | | %.1f | %.1f | |\n", median("floor" SUBSEP "mean"), median("floor" SUBSEP "p99")
	f = median("foreign")
	printf "\nOther work took %.0f %% of the machine (median over the runs)%s\n", f, (f > 10) ? ": too much for these figures to be held against the goals." : "."
}' "$directory/floor.csv" "$directory/results.csv"
