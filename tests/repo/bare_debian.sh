#!/usr/bin/env bash
# bare_debian.sh FOLDER [launcher arguments]: as root, makes a Debian 12 with nothing in it under FOLDER (or takes the
# one that is there), copies this tree into it and runs `./moegrad test`. Shows that the launcher does all of its own
# set-up. Needs debootstrap and a network; not part of the tests. The mirror is the one apt uses, or $MIRROR.
set -euo pipefail
root=${1:?usage: bare_debian.sh FOLDER [arguments of ./moegrad]}
shift
source_dir=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)

mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/*$' || true)}
mirror=${mirror:-http://deb.debian.org/debian}

if [ ! -e "$root/etc/debian_version" ]; then
    debootstrap --variant=minbase bookworm "$root" "$mirror"
fi
cp /etc/resolv.conf /etc/hosts "$root/etc/"
find /etc/apt/apt.conf.d -name '*proxy*' -exec cp {} "$root/etc/apt/apt.conf.d/" \;
mkdir -p "$root/work"
(cd "$source_dir" && git ls-files -z -co --exclude-standard | tar --null -T - -cf - --ignore-failed-read) |
    tar -C "$root/work" -xf -

mounted=""
if mount -t proc proc "$root/proc" 2>/dev/null; then mounted=yes; fi
trap 'if [ -n "$mounted" ]; then umount "$root/proc"; fi' EXIT

if chroot "$root" sh -c 'command -v g++ || command -v cmake'; then echo "not bare: it has compilers"; fi
[ $# -gt 0 ] || set -- test
begin=$(date +%s)
status=0
chroot "$root" env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    /work/moegrad "$@" || status=$?
echo "bare Debian: ./moegrad $* ended with $status after $(($(date +%s) - begin)) s"
exit "$status"
