#!/bin/bash
# Watches one component of a master and restarts it when two checks, ten seconds apart, fail.
#
# Nodes of the ancestor carry such monitors. They check with the certificates that lie on the disk, so they fail while
# a rotation has replaced the files and not yet the processes, and then "repair" what was healthy. The lab has them
# because a rotation must get along with them.
#
# usage: health-monitor.sh etcd|apiserver
set -u
component=$1
certs=/etc/kubernetes/certs

case $component in
etcd) client=etcdclient url=https://$PRIVATE_IP:2379/health ;;
apiserver) client=client url=https://$PRIVATE_IP:443/healthz ;;
*)
  echo "usage: $0 etcd|apiserver" >&2
  exit 2
  ;;
esac

healthy() {
  curl --silent --show-error --max-time 10 --output /dev/null --cacert $certs/ca.crt --cert $certs/$client.crt \
    --key $certs/$client.key "$url"
}

repair() {
  if [ "$component" = etcd ]; then
    systemctl kill etcd
  else
    pkill -KILL -x kube-apiserver # the kubelet starts the container again
  fi
  sleep 60
  [ "$component" != etcd ] || systemctl is-active --quiet etcd || systemctl start etcd
}

sleep "${FIRST_CHECK:-300}"
while :; do
  if healthy; then
    sleep 10
    continue
  fi
  echo "$component does not answer; looking again in 10 s"
  sleep 10
  if ! healthy; then
    echo "$component is unhealthy: restarting it"
    repair
  fi
done
