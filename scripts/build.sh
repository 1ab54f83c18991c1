#!/bin/sh
# build.sh DIRECTORY [meson options]: configures and builds the tree into DIRECTORY. Configures again when
# source files came or went, or when the options are others than last time. TARGETS (environment): what to build,
# everything when it is empty.
set -eu
cd "$(dirname "$0")/.."
directory=$1
shift

state=$( (printf '%s\n' "$*" "${CC:-}" "$(pkg-config --modversion cmocka 2>/dev/null)" "$(pkg-config --modversion valgrind 2>/dev/null)"; find src tests bench -name '*.[chS]' | LC_ALL=C sort) | cksum)
if [ ! -f "$directory/build.ninja" ]; then
	rm -rf "$directory/meson-private" "$directory/meson-info"
	mkdir -p "$directory"
	meson setup "$directory" "$@" >"$directory/setup.log" 2>&1 || { cat "$directory/setup.log" >&2; exit 1; }
elif [ "$(cat "$directory/.state" 2>/dev/null)" != "$state" ]; then
	meson setup --reconfigure "$directory" "$@" >"$directory/setup.log" 2>&1 || { cat "$directory/setup.log" >&2; exit 1; }
fi
printf '%s' "$state" >"$directory/.state"
exec ninja -C "$directory" ${NINJAFLAGS:-} ${TARGETS:-}
