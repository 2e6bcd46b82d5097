# shellcheck shell=bash
# What the scripts that build Kubernetes have in common. To be sourced, not run.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
started=$SECONDS
progress() { echo "[$((SECONDS - started))s] $*" >&2; }

# begin ARGUMENT...: read the script's arguments, into $cache and $key_only.
begin() {
    key_only=
    if [ "${1-}" = --key ]; then key_only=yes; shift; fi
    if [ $# -ne 1 ]; then
        echo "usage: $0 [--key] CACHE" >&2
        exit 2
    fi
    mkdir -p "$1"
    cache=$(cd "$1" && pwd)
}

# hash: a short name for what comes in on standard input.
hash() { sha256sum | cut -c 1-12; }

# hash_of DIRECTORY TEXT...: a name for the files of a directory of ours and the text.
hash_of() {
    local directory=$here/$1
    shift
    {
        echo "format 1 $(uname -m) $*"
        (cd "$directory" && find . -type f | LC_ALL=C sort | xargs sha256sum)
    } | hash
}

# run NAME BUILD: make the directory of the cache that is called NAME with the function BUILD,
# unless it is there, and say where it is. BUILD works in $work, which is deleted whatever
# happens, and leaves what it makes in $work/result.
run() {
    local result=$cache/$1
    if [ -n "$key_only" ]; then
        echo "$result"
        return
    fi
    if [ ! -d "$result" ]; then
        exec 9>"$cache/.kubernetes.lock"
        flock -n 9 || progress "waiting for another build"
        flock 9
        # We hold the lock, so what an interrupted build left is nobody's.
        rm -rf "$cache"/.kubernetes-work.*
        work=$(mktemp -d "$cache/.kubernetes-work.XXXXXX")
        chmod 755 "$work"
        trap 'rm -rf "$work"' EXIT
        trap 'exit 130' INT TERM HUP
        if [ ! -d "$result" ]; then # another build may have made it while we waited
            mkdir -p "$work/result/bin"
            "$2"
            mv "$work/result" "$result"
            progress "done: $result"
        fi
    fi
    echo "$result"
}

# Everything Go makes is static, the same wherever it is built, and without debugging
# information: nobody debugs these, and not making it saves time and disk.
go_flags=(-mod=readonly -trimpath -buildvcs=false -gcflags=all=-dwarf=false)

# go_part MODULE LINKER_FLAGS: the name in the cache of the module's compiled form.
go_part() { echo "part-$1-$(hash_of "go/$1" "${go_flags[*]}" "$2")"; }

# use_go: see to it that there is a Go that is new enough. From 1.21 on, Go fetches the compiler
# it needs by itself. An older one, such as Debian 12's, is told to fetch it as the module it is.
use_go() {
    local minor toolchain
    if ! command -v go >/dev/null; then
        echo "$0: Go is not installed" >&2
        exit 1
    fi
    minor=$(go version | sed -n 's/^go version go1\.\([0-9]*\).*/\1/p')
    if [ "${minor:-21}" -ge 21 ]; then return; fi
    toolchain=golang.org/toolchain@v0.0.1-go1.24.9.$(go env GOOS)-$(go env GOARCH)
    progress "Go 1.$minor is too old: fetching $toolchain"
    mkdir -p "$work/empty"
    cd "$work/empty"
    echo "module empty" >go.mod
    go mod download "$toolchain"
    toolchain=$GOMODCACHE/$toolchain
    # A module's files come without the permission to run them.
    chmod +x "$toolchain"/bin/* "$toolchain"/pkg/tool/*/*
    unset GOROOT
    PATH=$toolchain/bin:$PATH
}

# build_go MODULE LINKER_FLAGS: compile the module's programs, unless they are in the cache,
# and link them into the result. The modules are cached one by one, so that a change to a
# small helper does not compile Kubernetes again.
build_go() {
    local part attempt flags=("${go_flags[@]}" "-ldflags=$2")
    part=$cache/$(go_part "$1" "$2")
    if [ -d "$part" ]; then
        progress "$1: compiled already"
    else
        # Everything Go writes goes to the working directory, and nothing there is read-only.
        export GOPATH=$work/gopath GOMODCACHE=$work/modules GOCACHE=$work/objects
        export GOFLAGS=-modcacherw GOWORK=off CGO_ENABLED=0 GO111MODULE=on
        export GOTOOLCHAIN=auto
        # Memory is plentiful; collecting the compiler's garbage less often saves time.
        export GOGC=400
        use_go
        cd "$here/go/$1"
        progress "$1: fetching the source"
        for attempt in 1 2 3; do
            go list "${flags[@]}" -deps ./... >/dev/null 2>"$work/log" && break
            if [ "$attempt" = 3 ]; then
                tail -n 30 "$work/log" >&2
                exit 1
            fi
            sleep 5
        done
        progress "$1: compiling"
        mkdir "$work/part"
        if ! go build "${flags[@]}" -p "$(nproc)" -o "$work/part/" ./... 2>"$work/log"; then
            tail -n 50 "$work/log" >&2
            exit 1
        fi
        mv -T "$work/part" "$part"
        cd "$cache"
    fi
    ln "$part"/* "$work/result/bin/"
}

# link PROGRAM NAME...: give a program of the result further names.
link() {
    local name
    for name in "${@:2}"; do ln "$work/result/bin/$1" "$work/result/bin/$name"; done
}

# The one place that says which etcd the lab runs.
etcd_version=$(sed -n 's|^\tgo.etcd.io/etcd/server/v3 v\([^ ]*\).*|\1|p' "$here/go/etcd/go.mod")
etcd_linker="-s -w"

# tools_linker VERSION: mkimage knows which versions it makes images of.
tools_linker() {
    echo "-s -w -X main.kubernetesVersion=$1 -X main.etcdVersion=$etcd_version"
}

# version_linker VERSION PREFIX: the components' version is put in by the linker, as in
# Kubernetes' own build; without it they call themselves v0.0.0 and refuse each other.
# PREFIX is where the two packages are.
version_linker() {
    local major minor package flags="-s -w"
    IFS=. read -r major minor _ <<<"${1#v}"
    for package in component-base/version client-go/pkg/version; do
        package=$2$package
        flags+=" -X $package.gitVersion=$1 -X $package.gitTreeState=clean"
        flags+=" -X $package.gitMajor=$major -X $package.gitMinor=$minor"
    done
    echo "$flags"
}

# check VERSION: what does not start or goes by the wrong version is not worth keeping.
check() {
    local bin=$work/result/bin
    echo "$1" >"$work/result/VERSION"
    echo "$etcd_version" >"$work/result/ETCD_VERSION"
    [ "$("$bin/kubelet" --version)" = "Kubernetes $1" ]
    [ "$("$bin/kubeadm" version -o short)" = "$1" ]
    # Read to the end: etcd dies, and this with it, if nobody takes all that it says.
    [ "$("$bin/etcd" --version | sed -n 1p)" = "etcd Version: $etcd_version" ]
}
