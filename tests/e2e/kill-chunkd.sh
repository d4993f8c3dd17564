#!/usr/bin/env bash
# SIGKILL of a chunk server under a mounted filesystem with load: no IO error, and everything is right afterwards.
# limit: 180
. "$(dirname "$0")/../lib/e2e.sh"
load_survives_kills chunkd-1
