#!/bin/sh
# Process 1 of a machine until systemd is it. The controllers that a container may only read are made its own, below a
# cgroup of its own: without them no limit of a unit on memory or processes would hold.
for controller in memory pids cpu; do
  mount -o remount,bind,rw,nosuid,nodev,noexec /sys/fs/cgroup/$controller
done 2> /dev/null
# Without that it would outlive a test that is killed.
exec setpriv --pdeathsig=KILL /lib/systemd/systemd
