#!/bin/sh
# install_packages.sh build|test|fuzz|aarch64 ...: sees to it that what these steps need is installed.
#
# On Debian and its children what is missing is installed when we are root or may use sudo; else, and on
# every other system, it is named, and the exit status is 1. Each line of the tables is
#     Debian package | how to see that it is there: cmd:PROGRAM, pkg:PKG-CONFIG-NAME, py:MODULE, perl:MODULE, file:PATH
set -u

build_packages='
gcc|cmd:cc
libc6-dev|file:/usr/include/stdio.h
meson|cmd:meson
ninja-build|cmd:ninja
pkg-config|cmd:pkg-config
python3|cmd:python3
libssl-dev|pkg:openssl
libunbound-dev|file:/usr/include/unbound.h
libyaml-dev|pkg:yaml-0.1
libgsasl-dev|pkg:libgsasl
libidn2-dev|pkg:libidn2
libjansson-dev|pkg:jansson
libpcre2-dev|pkg:libpcre2-8
libmicrohttpd-dev|pkg:libmicrohttpd
libsystemd-dev|pkg:libsystemd
libcrypt-dev|pkg:libxcrypt
libpq-dev|pkg:libpq
libcurl4-openssl-dev|pkg:libcurl
libsqlite3-dev|pkg:sqlite3
libexpat1-dev|pkg:expat
libarchive-dev|pkg:libarchive
zlib1g-dev|pkg:zlib
'
test_packages='
libcmocka-dev|pkg:cmocka
libmaxminddb-dev|pkg:libmaxminddb
python3-pytest|py:pytest
swaks|cmd:swaks
msmtp|cmd:msmtp
curl|cmd:curl
gsasl|cmd:gsasl
dovecot-core|cmd:dovecot
dovecot-submissiond|file:/usr/lib/dovecot/submission-login
postgresql|file:/usr/lib/postgresql
libnet-ssleay-perl|perl:Net::SSLeay
openssl|cmd:openssl
libxml2-utils|cmd:xmllint
python3-dkim|py:dkim
python3-nacl|py:nacl
python3-spf|py:spf
opendkim|file:/usr/sbin/opendkim
libmail-dkim-perl|perl:Mail::DKIM
python3-authres|py:authres
python3-cryptography|py:cryptography
python3-dnspython|py:dns
ldnsutils|cmd:ldns-signzone
nsd|file:/usr/sbin/nsd
unbound|file:/usr/sbin/unbound
universal-ctags|cmd:ctags
valgrind|cmd:valgrind
haproxy|file:/usr/sbin/haproxy
microsocks|cmd:microsocks
'
fuzz_packages='
clang|cmd:clang
'
aarch64_packages='
gcc-aarch64-linux-gnu|cmd:aarch64-linux-gnu-gcc
qemu-user|cmd:qemu-aarch64
'

lines=
for step in "$@"; do
	case $step in
	build) lines="$lines$build_packages" ;;
	test) lines="$lines$test_packages" ;;
	fuzz) lines="$lines$fuzz_packages" ;;
	aarch64) lines="$lines$aarch64_packages" ;;
	*) echo "install_packages.sh: unknown step '$step' (build, test, fuzz, aarch64)" >&2; exit 2 ;;
	esac
done

is_there()
{
	case $1 in
	cmd:*) command -v "${1#cmd:}" >/dev/null 2>&1 ;;
	pkg:*) pkg-config --exists "${1#pkg:}" 2>/dev/null ;;
	# Debian's own Python has what its packages bring; another one may come first on the path.
	py:*) /usr/bin/python3 -c "import ${1#py:}" 2>/dev/null || python3 -c "import ${1#py:}" 2>/dev/null ;;
	perl:*) perl -M"${1#perl:}" -e 1 2>/dev/null ;;
	file:*) [ -e "${1#file:}" ] ;;
	esac
}

find_missing()
{
	missing=
	probes=
	for line in $lines; do
		if ! is_there "${line#*|}"; then
			missing="$missing ${line%%|*}"
			probes="$probes ${line#*|}"
		fi
	done
}

find_missing
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "These are missing (cmd: a program, pkg: what pkg-config calls it, py: a Python module, perl: one of Perl):" >&2
	for probe in $probes; do echo "    $probe" >&2; done
	echo "Please install them with your system's package manager and run make again." >&2
	exit 1
fi

as_root=
if [ "$(id -u)" != 0 ]; then
	if command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
		as_root="sudo"
	else
		echo "These packages are missing, and installing them needs root:" >&2
		echo "    apt-get install$missing" >&2
		exit 1
	fi
fi

install()
{
	# The configuration questions of a package must not stop a build.
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
}
echo "Installing:$missing"
if ! install; then
	$as_root apt-get update -q && install || exit 1
fi
find_missing
if [ -n "$missing" ]; then
	echo "Still missing after the installation:$missing" >&2
	exit 1
fi
