#!/bin/bash
# Build Kubernetes 1.20.2, the previous generation of clusters: service account tokens in
# Secrets that carry their own copy of the certificate authority, kubeadm v1beta2, and a
# Go library that still accepts what newer ones refuse in certificates.
#
# The Go module of that release needs more patching than Debian's source package, so that is
# what is compiled, with Go 1.15, upstream's own compiler for it: with a newer one the
# components compile but panic as soon as they write YAML.
#
# usage:  lab/build-kubernetes-1.20.sh [--key] CACHE
#
# Everything as in build-kubernetes.sh, with two differences: VERSION is v1.20.2 and the
# directory kubernetes-v1.20.2-KEY, and there is no extension-apiserver. Needs, beside Go for
# etcd and the helpers: apt-get, dpkg-dev, and a Debian mirror with bookworm's sources and
# bullseye's packages. The mirror is that of the machine's own apt sources if those are
# Debian's; else name one in the environment variable KUBECERT_LAB_DEBIAN_MIRROR.
set -euo pipefail
shopt -s inherit_errexit
. "$(dirname "${BASH_SOURCE[0]}")/build-lib.sh"
begin "$@"

version=v1.20.2
package=kubernetes=1.20.5+really1.20.2-1.1+deb12u1
linker=$(version_linker "$version" k8s.io/kubernetes/vendor/k8s.io/)
tools_linker=$(tools_linker "$version")
# No cloud providers' libraries and no Docker: the lab has neither.
tags=providerless,dockerless
part=part-kubernetes-1.20-$(hash_of go/kubernetes-1.20 "format 1 $package $tags $linker")

mirror() {
    if [ -n "${KUBECERT_LAB_DEBIAN_MIRROR-}" ]; then
        echo "$KUBECERT_LAB_DEBIAN_MIRROR"
        return
    fi
    {
        cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed -n 's/^URIs: *\([^ ]*\).*/\1/p'
        cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
            sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p'
    } | grep '/debian/*$' | head -n 1 || true
}

# Fetch the source package and the compiler, by an apt configuration of our own so that the
# machine's package lists stay as they are.
fetch() {
    local from keys=/usr/share/keyrings/debian-archive-keyring.gpg apt=$work/apt options
    from=$(mirror)
    if [ -z "$from" ]; then
        echo "$0: no Debian mirror is known; set KUBECERT_LAB_DEBIAN_MIRROR" >&2
        exit 1
    fi
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$work/download"
    cat >"$apt/sources.list" <<X
deb [signed-by=$keys] $from bullseye main
deb-src [signed-by=$keys] $from bookworm main
X
    options=(-qq -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=-
        -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache"
        -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root)
    cd "$work/download"
    apt-get "${options[@]}" update >&2
    apt-get "${options[@]}" download golang-1.15-go golang-1.15-src >&2
    apt-get "${options[@]}" source --download-only "$package" >&2
}

compile() {
    local archive inputs source=$work/gopath/src/k8s.io/kubernetes
    for archive in "$work"/download/golang-1.15-*.deb; do dpkg -x "$archive" "$work/go"; done
    mkdir -p "$(dirname "$source")"
    # The signature was checked along the chain that apt-get followed.
    dpkg-source --no-check -x "$work"/download/kubernetes_*.dsc "$source" >/dev/null 2>"$work/log"

    # The package vendors everything, but not in the form that Go's module mode insists on.
    export GO111MODULE=off GOPATH=$work/gopath GOCACHE=$work/objects-1.15 CGO_ENABLED=0
    # The settings of the machine's own Go are not for one this old.
    export GOROOT=$work/go/usr/lib/go-1.15 GOENV=off GOFLAGS= GOGC=400
    local go=$GOROOT/bin/go
    cd "$source"

    # The description of the API that the apiserver compiles in is generated, and not part
    # of the package.
    progress "kubernetes: generating the API's description"
    "$go" build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    inputs=$(grep -rl --include='*.go' '+k8s:openapi-gen=' pkg vendor/k8s.io/ staging/src/k8s.io |
        grep -v _test.go | sed 's|^staging/src/|vendor/|' |
        grep -Ev '^vendor/k8s.io/(code-generator|sample-apiserver|gengo|kube-openapi)' |
        xargs -n 1 dirname | LC_ALL=C sort -u | sed 's|^|k8s.io/kubernetes/|' | paste -sd ,)
    "$work/openapi-gen" -i "$inputs" -p k8s.io/kubernetes/pkg/generated/openapi \
        -O zz_generated.openapi -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt \
        -r "$work/violations" -o "$work/gopath/src"

    progress "kubernetes: compiling"
    mkdir cmd/lab "$work/part"
    cp "$here"/go/kubernetes-1.20/*.go cmd/lab/
    "$go" build -trimpath -tags "$tags" -ldflags "$linker" -o "$work/part/kubernetes" ./cmd/lab
    mv -T "$work/part" "$cache/$part"
    unset GOROOT GOENV GO111MODULE
    cd "$cache"
}

build() {
    build_go tools "$tools_linker"
    build_go etcd "$etcd_linker"
    if [ -d "$cache/$part" ]; then
        progress "kubernetes: compiled already"
    else
        progress "kubernetes: fetching the source"
        fetch
        compile
    fi
    ln "$cache/$part"/* "$work/result/bin/"
    link kubernetes kube-apiserver kube-controller-manager kube-scheduler kube-proxy \
        kubelet kubeadm kubectl
    link etcd etcdctl
    check "$version"
}

parts=$(go_part tools "$tools_linker"; go_part etcd "$etcd_linker"; echo "$part")
run "kubernetes-$version-$(hash <<<"$parts")" build
