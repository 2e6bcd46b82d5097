// Command kubernetes holds every Kubernetes component of the lab in one program.
//
// The name it is called by chooses the component, as with busybox: the lab makes a
// symbolic link per component (kube-apiserver, kubelet, ...). The first argument is
// looked at when the program's own name says nothing. One program instead of seven means
// one link step, one copy on disk and in the page cache, and one image layer for all.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	_ "time/tzdata" // time zones in CronJobs; nodes have no zone files

	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	kubeapiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kubecontrollermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubescheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app"
	kubeadmerrors "k8s.io/kubernetes/cmd/kubeadm/app/util/errors"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"kubecert.lab/kubernetes/extension"
)

// Each component is made only when it is asked for: their constructors register flags and
// feature gates in process-wide tables and would get in each other's way.
var components = map[string]func(){
	"kube-apiserver": func() { os.Exit(cli.Run(kubeapiserver.NewAPIServerCommand())) },
	"kube-controller-manager": func() {
		os.Exit(cli.Run(kubecontrollermanager.NewControllerManagerCommand()))
	},
	"kube-scheduler":      func() { os.Exit(cli.Run(kubescheduler.NewSchedulerCommand())) },
	"kube-proxy":          func() { os.Exit(cli.Run(kubeproxy.NewProxyCommand())) },
	"kubelet":             func() { os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background()))) },
	"extension-apiserver": func() { os.Exit(cli.Run(extension.NewCommand())) },
	"kubeadm":             func() { kubeadmerrors.HandleError(kubeadm.Run()) },
	"kubectl": func() {
		// kubectl reads its verbosity before it parses the other flags.
		logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)) //nolint:errcheck
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
	},
}

func main() {
	if run, ok := components[filepath.Base(os.Args[0])]; ok {
		run()
		return
	}
	if len(os.Args) > 1 {
		if run, ok := components[os.Args[1]]; ok {
			os.Args = os.Args[1:]
			run()
			return
		}
	}
	names := make([]string, 0, len(components))
	for name := range components {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Fprintf(os.Stderr, "usage: kubernetes COMPONENT [FLAG...], where COMPONENT is one of %v\n", names)
	os.Exit(2)
}
