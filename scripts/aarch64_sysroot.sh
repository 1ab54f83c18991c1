#!/bin/sh
# aarch64_sysroot.sh DIRECTORY: on Debian, lays the libraries of install_packages.sh for arm64, and all that they need, into
# DIRECTORY/sysroot, and writes DIRECTORY/cross.ini, the cross file for Meson. The system's own packages are not
# touched: apt works on lists and a state of its own below DIRECTORY. When the list of libraries is still the one of
# last time, nothing is fetched.
set -eu
mkdir -p "$1"
place=$(cd "$1" && pwd)
cd "$(dirname "$0")"
packages=$(sed -n 's/^\(lib[a-z0-9-]*-dev\)|.*/\1/p' install_packages.sh)

if [ "$(cat "$place/sysroot/.packages" 2>/dev/null)" != "$packages" ]; then
	rm -rf "$place/apt" "$place/sysroot"
	mkdir -p "$place/apt/lists/partial" "$place/apt/cache/archives/partial" "$place/sysroot"
	: >"$place/apt/status"
	cat >"$place/apt/apt.conf" <<-END
	APT::Architecture "arm64";
	APT::Architectures { "arm64"; };
	APT::Sandbox::User "";
	Acquire::Languages "none";
	Dir::State "$place/apt";
	Dir::State::status "$place/apt/status";
	Dir::Cache "$place/apt/cache";
	END
	export APT_CONFIG="$place/apt/apt.conf"
	apt-get update -q
	# shellcheck disable=SC2086
	apt-get install -y -q --download-only --no-install-recommends $packages
	for package in "$place"/apt/cache/archives/*.deb; do
		dpkg-deb -x "$package" "$place/sysroot"
	done
	rm -rf "$place/apt"
	printf '%s\n' "$packages" >"$place/sysroot/.packages"
fi

cat >"$place/cross.ini" <<END
[binaries]
c = '/usr/bin/aarch64-linux-gnu-gcc'
ar = '/usr/bin/aarch64-linux-gnu-ar'
strip = '/usr/bin/aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64', '-L', '$place/sysroot']

[built-in options]
c_args = ['--sysroot=$place/sysroot']
c_link_args = ['--sysroot=$place/sysroot']

[properties]
sys_root = '$place/sysroot'
pkg_config_libdir = '$place/sysroot/usr/lib/aarch64-linux-gnu/pkgconfig:$place/sysroot/usr/share/pkgconfig'

[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
END
