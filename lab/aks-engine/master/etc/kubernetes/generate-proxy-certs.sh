#!/bin/bash
# Makes the front-proxy certificates of this master, or takes over those another master has put into etcd first.
#
# The first master to hold the lock stores its own set under /proxycerts/; every master then writes down what etcd
# holds. With OVERRIDE_PROXY_CERTS=true this master's new set replaces the stored one. Values have one leading space.
set -u
export ETCDCTL_API=3
certs=/etc/kubernetes/certs
work=/tmp/proxy-client
ctl=(etcdctl --command-timeout=30s
  "--endpoints=${ETCDCTL_ENDPOINTS:-https://127.0.0.1:2379}"
  "--cacert=${ETCDCTL_CACERT:-$certs/ca.crt}"
  "--cert=${ETCDCTL_CERT:-$certs/etcdclient.crt}"
  "--key=${ETCDCTL_KEY:-$certs/etcdclient.key}")
# etcdctl from 3.4 on refuses a variable that a flag shadows.
unset ETCDCTL_ENDPOINTS ETCDCTL_CACERT ETCDCTL_CERT ETCDCTL_KEY ETCDCTL_CA_FILE ETCDCTL_CERT_FILE ETCDCTL_KEY_FILE

put() {
  if [ "${OVERRIDE_PROXY_CERTS:-}" = true ] || [ -z "$("${ctl[@]}" get "/proxycerts/$1" --print-value-only)" ]; then
    printf ' %s' "$(cat "$2")" | "${ctl[@]}" put "/proxycerts/$1" >/dev/null # by stdin: keys do not belong on command lines
  fi
}

get() {
  "${ctl[@]}" get "/proxycerts/$1" --print-value-only | sed '1s/^ //' >"$2"
}

if [ "${1:-}" = store ]; then # under the lock, see below
  put requestheader-client-ca-file $work-ca.crt
  put proxy-client-key-file $work.key
  put proxy-client-cert-file $work.crt
  exit 0
fi

openssl req -x509 -newkey rsa:2048 -nodes -days 262824 -subj /CN=proxyClientCA -keyout $work-ca.key -out $work-ca.crt 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj /CN=aggregator/O=system:masters -keyout $work.key -out $work.csr 2>/dev/null
openssl x509 -req -days 262824 -in $work.csr -CA $work-ca.crt -CAkey $work-ca.key -set_serial 02 -out $work.crt 2>/dev/null

for _ in $(seq 100); do
  "${ctl[@]}" endpoint health >/dev/null 2>&1 && break
  sleep 1
done
# The lock outlives the command timeout when another master holds it, hence none here.
"${ctl[@]/--command-timeout=30s/--command-timeout=10m}" lock master_proxy_cert_lock "$0" store >/dev/null

get requestheader-client-ca-file $certs/proxy-ca.crt
(umask 077 && get proxy-client-key-file $certs/proxy.key)
chmod 600 $certs/proxy.key
get proxy-client-cert-file $certs/proxy.crt
[ -s $certs/proxy-ca.crt ] && [ -s $certs/proxy.key ] && [ -s $certs/proxy.crt ]
