#!/usr/bin/env bash
# ext4 on an attached volume: verified random IO, then everything again after unmount, detach and a new attach.
# limit: 180
. "$(dirname "$0")/../lib/e2e.sh"
filesystem_keeps_everything "mkfs.ext4 -q" "e2fsck -fn"
