#!/bin/bash
# Build the programs the lab runs: Kubernetes 1.34, etcd 3.5 and the lab's own helpers.
#
# Everything comes as source code from the Go module proxy and is compiled here, because no
# package registry carries a current control plane. Only Go and the usual shell tools are
# needed; a Go that is too old, such as Debian's, fetches the compiler it needs.
#
# usage:  lab/build-kubernetes.sh CACHE          build unless already built
#         lab/build-kubernetes.sh --key CACHE    only say where the result is or would be
#
# The last and only line on standard output is the directory of the result,
# CACHE/kubernetes-VERSION-KEY. KEY is a hash of lab/go and of the way it is compiled, so a
# changed recipe never finds an old result. Progress and timings go to standard error. The
# directory appears in one rename when all of it is ready; CACHE/k8s-1.34 is then a symbolic
# link to it. Two builds at once are safe: the second waits for the first.
#
# The three Go modules are cached one by one (CACHE/part-*, hard-linked into the result), so
# that a change to a small helper does not compile Kubernetes again. A build from nothing takes
# 4 GB of disk in CACHE for its duration and some 10 minutes of processor time; what stays is
# about 200 MB. A failed or interrupted build leaves nothing that the next would trip over.
#
# The result:
#   VERSION                 one line: the Kubernetes version, "v1.34.4"
#   ETCD_VERSION            one line: the etcd version, "3.5.21"
#   bin/kubernetes          every component below in one static program; the others are HARD
#                           LINKS to it, chosen by the name they are called by. Copy the
#                           directory with `cp -a` (or hard link it), else it grows eightfold.
#   bin/kube-apiserver bin/kube-controller-manager bin/kube-scheduler bin/kube-proxy
#   bin/kubelet bin/kubeadm bin/kubectl
#   bin/extension-apiserver an aggregated API server, see lab/go/kubernetes/extension
#   bin/etcd, bin/etcdctl   again one program with two names
#   bin/wl                  the workload client, see lab/go/tools/wl
#   bin/pause               the sandbox container's program
#   bin/mkimage             makes the container images, as follows
#
# Container images are a second step, because kube-proxy's image carries iptables and nft out
# of the node's own root file system. It takes a few seconds and needs no container tools:
#
#   bin/mkimage -bin RESULT/bin -rootfs ROOTFS -out IMAGES.tar [-name IMAGE=NAME:TAG]...
#
# ROOTFS is the node's base root file system ("/" works on a Debian machine that has iptables).
# IMAGES.tar is one docker archive with all images, layers shared; load it with
# `ctr -n k8s.io images import IMAGES.tar`. The images, each with the name
# kubecert.lab/IMAGE:TAG and any number of further names given with -name, as an API model or
# kubeadm wants them:
#   kube-apiserver kube-controller-manager kube-scheduler kube-proxy extension-apiserver
#                           TAG v1.34.4; no entry point: a manifest names the component first,
#                           `command: [kube-apiserver, ...]`; found on PATH (/usr/local/bin)
#   etcd                    TAG 3.5.21-0 (the form kubeadm's etcd.local.imageTag wants); no
#                           entry point; has etcdctl too
#   pause                   TAG 3.10.1; entry point /pause
#   wl                      TAG 1; entry point /usr/local/bin/wl, with busybox's shell beside it
#   busybox                 TAG 1; entry point /bin/sh; ROOTFS/bin/busybox, if there is one
# `bin/mkimage -list` prints "IMAGE NAME:TAG" lines.
set -euo pipefail
shopt -s inherit_errexit
. "$(dirname "${BASH_SOURCE[0]}")/build-lib.sh"
begin "$@"

version=v$(sed -n 's|^\tk8s.io/kubernetes v\([^ ]*\).*|\1|p' "$here/go/kubernetes/go.mod")
linker=$(version_linker "$version" k8s.io/)
tools_linker=$(tools_linker "$version")
parts=$(go_part tools "$tools_linker"; go_part etcd "$etcd_linker"; go_part kubernetes "$linker")

build() {
    build_go tools "$tools_linker"
    build_go etcd "$etcd_linker"
    build_go kubernetes "$linker"
    link kubernetes kube-apiserver kube-controller-manager kube-scheduler kube-proxy \
        kubelet kubeadm kubectl extension-apiserver
    link etcd etcdctl
    check "$version"
}

name=kubernetes-$version-$(hash <<<"$parts")
run "$name" build
if [ -z "$key_only" ]; then
    ln -s "$name" "$cache/.k8s-link.$$"
    mv -T "$cache/.k8s-link.$$" "$cache/k8s-1.34"
fi
