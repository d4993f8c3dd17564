#!/usr/bin/env bash
# Volumes over TLS: listed, read and written by a client that trusts the server's certificate; one without TLS, with another
# authority, or without a certificate of its own where the server wants one, gets nothing.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create v --size 16M --chunk-size 4M
"$TOP/tests/lib/make-certificates" "$T/right"
"$TOP/tests/lib/make-certificates" "$T/wrong"
port=$((20000 + $$ % 2000 * 16 + 14))
nbdkit -f -p $port --tls=require --tls-certificates="$T/right" --tls-verify-peer "$BUILD/nbdkit-copyhold-plugin.so" \
	"meta=$COPYHOLD_META" >"$T/nbdkit.log" 2>&1 &
server=$!
on_exit "kill $server && wait $server"
uri() { echo "nbds://localhost:$port/v?tls-certificates=$T/$1"; }
lists() { nbdinfo --list --json "nbds://localhost:$port/?tls-certificates=$T/right" | jq -e '.exports[]."export-name" == "v"'; }
wait_for 20 "the volumes are listed over TLS" lists
nbdinfo "$(uri right)" | tee "$T/info"
grep -q "with TLS" "$T/info" || fail "there is no TLS"

say "IO"
head -c 16777216 /dev/urandom >"$T/data"
nbdcopy "$T/data" "$(uri right)"
nbdcopy "$(uri right)" "$T/back"
cmp "$T/data" "$T/back"

say "others get nothing"
expect_failure "TLS|tls" nbdinfo "nbd://localhost:$port/v"
expect_failure "certificate|handshake" nbdinfo "$(uri wrong)"
mkdir "$T/anonymous"
cp "$T/right/ca-cert.pem" "$T/anonymous"
expect_failure "certificate|handshake|TLS|disconnect" nbdinfo "nbds://localhost:$port/v?tls-certificates=$T/anonymous"
lists >/dev/null || fail "the server no longer serves"
