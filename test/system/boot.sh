#!/bin/sh
# Boots the tree $1 in this process, with a network of its own, further options $2, and the cgroups that follow.
set -e
tree=$1
options=$2
shift 2
for folder in "$@"; do
  mkdir -p "$folder"
  # Version 2 hands controllers down one level at a time, where it may.
  [ ! -e "${folder%/*}/cgroup.subtree_control" ] || echo "+memory +pids" > "${folder%/*}/cgroup.subtree_control" || true
  echo $$ > "$folder/cgroup.procs"
done 2> /dev/null
cp "$(dirname "$0")/init.sh" "$tree/usr/lib/certagent-test-init"
chmod 755 "$tree/usr/lib/certagent-test-init"
# Not registered anywhere and in no unit: works where this machine itself runs no systemd.
# shellcheck disable=SC2086 # words
exec systemd-nspawn --quiet --settings=no --register=no --keep-unit --private-network --link-journal=no \
  --resolv-conf=off --timezone=off --hostname=vm --console=pipe --kill-signal=SIGRTMIN+3 $options \
  --directory="$tree" /usr/lib/certagent-test-init
