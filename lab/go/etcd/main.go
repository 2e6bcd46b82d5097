// Command etcd is the etcd server and its command line client in one program. The name it
// is called by chooses: etcdctl is the client, anything else the server.
package main

import (
	"os"
	"path/filepath"

	"go.etcd.io/etcd/etcdctl/v3/ctlv3"
	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	if filepath.Base(os.Args[0]) == "etcdctl" {
		// Scripts written for etcd 3.3 set this; the client would warn about it.
		os.Unsetenv("ETCDCTL_API")
		ctlv3.MustStart()
		return
	}
	etcdmain.Main(os.Args)
}
