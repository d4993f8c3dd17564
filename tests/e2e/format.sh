#!/usr/bin/env bash
# copyhold-chunkd format refuses what holds something else, says what, and takes it with --force; a TiB takes seconds; a damaged disk is
# refused with the offset and the reason, by a start and by fsck.
# limit: 90
. "$(dirname "$0")/../lib/e2e.sh"

# refused FILE PATTERN: and left as it is.
refused() {
	local before
	before=$(head -c 1M "$1" | sha256sum)
	expect_failure "$2.*--force" copyhold-chunkd format "$1"
	expect_equal "the beginning of $1" "$(head -c 1M "$1" | sha256sum)" "$before"
}
empty() { truncate -s 0 "$1" && truncate -s "${2:-300M}" "$1"; }
put() { printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

say "what others have made"
empty ext4 && mkfs.ext4 -q ext4 && refused ext4 "holds ext4"
empty xfs 400M && mkfs.xfs -q xfs && refused xfs "holds xfs"
empty lvm && put lvm 512 'LABELONE\x01' && refused lvm "holds data at its beginning"
empty dos && put dos 446 '\x00\x00\x01\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x00\x08\x00' && put dos 510 '\x55\xaa' &&
	refused dos "holds a partition table \(dos\)"
empty md && put md $((300 * 1024 * 1024 - 8192)) '\xfc\x4e\x2b\xa9' && refused md "holds data at its end"
copyhold-chunkd format ext4 --force

say "disks of Copyhold"
refused ext4 "is the disk .* of Copyhold"
put ext4 0 '\0\0\0\0\0\0\0\0'
refused ext4 "is the disk .* of Copyhold"
expect_failure "superblock 0 \(offset 0\): no Copyhold disk .* the other copy counts" copyhold-chunkd fsck ext4
cluster_start --chunk-servers 1 --size 256M
expect_failure "is the disk .* of chunk server 1" copyhold-chunkd format "$PLAYGROUND/chunkd-1.disk"
expect_failure "in use by process [0-9]+ \(copyhold-chunkd\)" copyhold-chunkd format "$PLAYGROUND/chunkd-1.disk" --force

say "what can't be a disk"
expect_failure "too small: at least 4 MiB" copyhold-chunkd format "$T/tiny" --size 1M
[ ! -e tiny ] || fail "a file that could not be formatted is left behind"
expect_failure "neither a file nor a block device" copyhold-chunkd format /dev/null
expect_failure "exists: --size is for a new file" copyhold-chunkd format ext4 --size 1G

say "a TiB"
start=$SECONDS
copyhold-chunkd format tib --size 1T
say "took about $((SECONDS - start)) s"
expect_failure "is the disk" copyhold-chunkd format tib
rm tib

say "damaged structures"
damaged() { # damaged OFFSET BYTES PATTERN
	cp "$PLAYGROUND/chunkd-1.disk" bad
	put bad "$1" "$2"
	expect_failure "$3" copyhold-chunkd fsck bad
	expect_failure "bad can't be opened: .*$3" copyhold-chunkd run --data bad --listen 127.0.0.1:0
}
copyhold volume create disk --size 64M --replicas 1 --chunk-size 64M
serve disk nbd.sock
nbd-journal write "$URI" "$T/journal" count=50 depth=4
end_server "$SERVER_PID"
copyhold playground stop --dir "$PLAYGROUND"
copyhold-chunkd inspect "$PLAYGROUND/chunkd-1.disk" >inspected
metadata=$(grep -oP 'metadata at \K\d+' inspected)
size=$(stat -c %s "$PLAYGROUND/chunkd-1.disk")
damaged $((metadata + 100)) '\xff\xff' "offset [0-9]+"
truncated=$((size / 2))
cp "$PLAYGROUND/chunkd-1.disk" bad && truncate -s $truncated bad
expect_failure "smaller than when it was formatted.*offset 0.*whole size back" copyhold-chunkd run --data bad --listen 127.0.0.1:0
cp "$PLAYGROUND/chunkd-1.disk" bad && put bad 20 '\x01' && put bad $((size - 4096 + 20)) '\x01'
expect_failure "fails its checksum \(superblock at offset $((size - 4096))\)" copyhold-chunkd run --data bad --listen 127.0.0.1:0
cp "$PLAYGROUND/chunkd-1.disk" bad && put bad 4096 '\0\0\0\0' && put bad $((4096 + 65536)) '\0\0\0\0'
expect_failure "no checkpoint header is valid \(offset 4096\)" copyhold-chunkd fsck bad
