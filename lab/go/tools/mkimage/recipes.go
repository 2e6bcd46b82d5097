package main

import (
	"os"
	"path"
	"strings"
)

// A recipe says what one image is made of.
type recipe struct {
	image      string
	tag        string
	layers     []part
	entrypoint []string
	names      []string
}

// A part is a layer that several images may have in common.
type part struct {
	name string
	fill func(*layer, source) error
}

func recipes() []recipe {
	base := part{"base", fillBase}
	kubernetes := part{"kubernetes", fillKubernetes}
	networkTools := part{"network tools", fillNetworkTools}
	busybox := part{"busybox", fillBusybox}

	var all []recipe
	for _, component := range components {
		layers := []part{base, kubernetes}
		if component == "kube-proxy" {
			layers = append(layers, networkTools)
		}
		// No entry point: manifests name the component as the first word of the command.
		all = append(all, recipe{image: component, tag: kubernetesVersion, layers: layers})
	}
	return append(all,
		recipe{image: "etcd", tag: etcdVersion + "-0", layers: []part{base, {"etcd", fillEtcd}}},
		recipe{image: "pause", tag: "3.10.1", layers: []part{{"pause", fillPause}},
			entrypoint: []string{"/pause"}},
		recipe{image: "wl", tag: "1", layers: []part{base, busybox, {"wl", fillWorkload}},
			entrypoint: []string{"/usr/local/bin/wl"}},
		recipe{image: "busybox", tag: "1", layers: []part{base, busybox}, entrypoint: []string{"/bin/sh"}},
	)
}

// The components that run in containers. The one program that holds them all is one layer,
// so that a node stores it once.
var components = []string{
	"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "extension-apiserver",
}

// What any image has that is more than one bare program.
func fillBase(l *layer, _ source) error {
	for _, step := range []func() error{
		func() error { return l.directory("/tmp", 0o1777) },
		func() error { return l.directory("/run", 0o755) },
		func() error { return l.directory("/var/log", 0o755) },
		func() error { return l.text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n") },
		func() error { return l.text("/etc/group", "root:x:0:\n") },
		func() error { return l.text("/etc/nsswitch.conf", "hosts: files dns\n") },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func fillKubernetes(l *layer, from source) error {
	if err := from.program(l, "/usr/local/bin/kubernetes", "kubernetes"); err != nil {
		return err
	}
	for _, component := range components {
		if !from.has(component) {
			continue // the older Kubernetes comes without our extension API server
		}
		if err := l.hardlink("/usr/local/bin/"+component, "/usr/local/bin/kubernetes"); err != nil {
			return err
		}
	}
	return nil
}

func fillEtcd(l *layer, from source) error {
	if err := from.program(l, "/usr/local/bin/etcd", "etcd"); err != nil {
		return err
	}
	return l.hardlink("/usr/local/bin/etcdctl", "/usr/local/bin/etcd")
}

func fillPause(l *layer, from source) error { return from.program(l, "/pause", "pause") }

func fillWorkload(l *layer, from source) error { return from.program(l, "/usr/local/bin/wl", "wl") }

// fillNetworkTools adds what kube-proxy calls to program the node's packet filter. They are
// the node's own, so that kube-proxy and the kubelet use the same kind of iptables.
func fillNetworkTools(l *layer, from source) error {
	required := []string{
		"/usr/sbin/iptables", "/usr/sbin/iptables-save", "/usr/sbin/iptables-restore",
		"/usr/sbin/ip6tables", "/usr/sbin/ip6tables-save", "/usr/sbin/ip6tables-restore",
	}
	for _, program := range required {
		if err := from.root.program(l, program); err != nil {
			return err
		}
	}
	for _, program := range []string{"/usr/sbin/nft", "/usr/sbin/conntrack", "/usr/sbin/ipset"} {
		if from.root.has(program) {
			if err := from.root.program(l, program); err != nil {
				return err
			}
		}
	}
	return addPlugins(l, from.root)
}

// addPlugins adds the matches and targets that iptables loads while it runs and that are
// therefore named nowhere in the program.
func addPlugins(l *layer, root rootfs) error {
	directories, err := root.libraryDirectories()
	if err != nil {
		return err
	}
	for _, directory := range directories {
		directory = path.Join(directory, "xtables")
		if !root.has(directory) {
			continue
		}
		entries, err := os.ReadDir(root.host(directory))
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if strings.HasSuffix(entry.Name(), ".so") {
				if err := root.library(l, path.Join(directory, entry.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// A shell and its usual company, for looking around in a pod and for probes.
var busyboxCommands = strings.Fields(`
	sh ash cat cp cut date echo env false grep head hostname id kill ls mkdir mv nc ps pwd rm sed
	sleep sort stat tail test touch tr true vi wc wget which xargs`)

func fillBusybox(l *layer, from source) error {
	const busybox = "/bin/busybox"
	if !from.root.has(busybox) {
		return nil // the images that carry it then have only their own program
	}
	if err := from.root.program(l, busybox); err != nil {
		return err
	}
	for _, command := range busyboxCommands {
		if err := l.symlink("/bin/"+command, "busybox"); err != nil {
			return err
		}
	}
	return nil
}
