#!/bin/bash
# Keeps one lab node running: starts its machine, and starts it again whenever it has rebooted itself (exit status 133).
#
# The loop is the parent of systemd-nspawn and reaps it. It ends when the machine is powered off, or is killed while the
# file STATE/stop exists. STATE/reboot-delay, if there, holds the seconds a reboot keeps the machine off.
#
# usage: node-loop.sh STATE ROOT MACHINE HOSTNAME NETNS CGROUP CONTAINERD
state=$1 root=$2 machine=$3 hostname=$4 netns=$5 cgroup=$6 containerd=$7
trap '' HUP INT
echo $$ >"$state/loop.pid"

# The node gets a cgroup of its own, outside of whatever the caller is in: that would end with the caller.
top=/sys/fs/cgroup
if [ -e $top/cgroup.controllers ]; then # cgroup v2 only
  path=$top
  for part in ${cgroup//\// }; do
    echo "+cpu +cpuset +memory +pids +io" >$path/cgroup.subtree_control
    path=$path/$part
    mkdir -p "$path"
  done
  echo $$ >"$path/cgroup.procs"
else
  for hierarchy in "$top"/*/; do
    mountpoint -q "$hierarchy" || continue
    mkdir -p "$hierarchy/$cgroup"
    path=$hierarchy
    for part in ${cgroup//\// }; do # a new cpuset is empty and takes no process until it has been filled
      path=$path/$part
      for file in cpus mems; do
        [ -e "$path/cpuset.$file" ] && cat "$path/../cpuset.$file" >"$path/cpuset.$file"
      done
    done
    echo $$ >"$path/cgroup.procs"
  done
fi

export SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 SYSTEMD_SECCOMP=0
while :; do
  setsid systemd-nspawn --quiet --directory="$root" --machine="$machine" --hostname="$hostname" --register=no --keep-unit \
    --network-namespace-path="/run/netns/$netns" --capability=all --bind=/dev/kmsg --bind="$containerd:/var/lib/containerd" \
    --resolv-conf=off --timezone=off --link-journal=no --console=pipe --boot </dev/null &
  echo $! >"$state/nspawn.pid"
  status=0
  wait $! || status=$?
  echo "nspawn ended with $status"
  # A machine that boots has no cgroups of pods from before; the kubelet would puzzle over each for seconds.
  for leftover in "$top" "$top"/*/; do
    [ ! -d "$leftover/$cgroup" ] || find "$leftover/$cgroup" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null
  done
  [ $status = 133 ] && [ ! -e "$state/stop" ] || break
  [ ! -s "$state/reboot-delay" ] || sleep "$(cat "$state/reboot-delay")"
done
