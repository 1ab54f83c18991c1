#!/bin/sh
# list_files.sh DIRECTORY PATTERN: the files in a directory of the source tree, one a line, for meson.build.
cd "$(dirname "$0")/.." || exit 1
for file in "$1"/$2; do
	[ -f "$file" ] && printf '%s\n' "$file"
done
exit 0
