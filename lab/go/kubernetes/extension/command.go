// Package extension is a small aggregated API server, as metrics adapters and service brokers
// are: it serves one group, lab.kubecert.dev/v1, behind the kube-apiserver's aggregation layer.
//
// It exists to make the front-proxy certificates matter. The kube-apiserver passes a request
// on with the name of its user in headers, and proves with its front-proxy client certificate
// that it may. This server believes the headers only if the certificate was issued by the
// authority in the ConfigMap kube-system/extension-apiserver-authentication; otherwise the
// caller is anonymous and is refused. What it serves is who it takes the caller to be:
//
//	kubectl get greetings.lab.kubecert.dev hello -o jsonpath='{.caller}'
//
// Authentication and authorisation are the published server library's, set up as any extension
// server sets them up, and so is the serving certificate: --tls-cert-file and
// --tls-private-key-file are read again when they change (at the latest after a minute).
package extension

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/util/compatibility"
)

var codecs = serializer.NewCodecFactory(scheme)

type serverOptions struct {
	serving        *options.SecureServingOptionsWithLoopback
	authentication *options.DelegatingAuthenticationOptions
	authorization  *options.DelegatingAuthorizationOptions
}

// NewCommand returns the command that runs the server. In a pod it needs no flags but those
// of its certificate: it calls the kube-apiserver as its service account.
func NewCommand() *cobra.Command {
	o := serverOptions{
		serving:        options.NewSecureServingOptions().WithLoopback(),
		authentication: options.NewDelegatingAuthenticationOptions(),
		authorization:  options.NewDelegatingAuthorizationOptions(),
	}
	command := &cobra.Command{
		Use:          "extension-apiserver",
		Short:        "A small aggregated API server for lab.kubecert.dev/v1",
		SilenceUsage: true,
		RunE: func(command *cobra.Command, _ []string) error {
			server, err := o.server()
			if err != nil {
				return err
			}
			return server.PrepareRun().RunWithContext(genericapiserver.SetupSignalContext())
		},
	}
	o.serving.AddFlags(command.Flags())
	o.authentication.AddFlags(command.Flags())
	o.authorization.AddFlags(command.Flags())
	return command
}

func (o *serverOptions) server() (*genericapiserver.GenericAPIServer, error) {
	// Without a certificate given, one is made for the occasion, as server programs do.
	if err := o.serving.MaybeDefaultWithSelfSignedCerts("localhost", nil, nil); err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	config := genericapiserver.NewConfig(codecs)
	config.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	namer := openapinamer.NewDefinitionNamer(scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openAPIDefinitions, namer)
	config.OpenAPIConfig.Info.Title = "kubecert lab"
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openAPIDefinitions, namer)
	config.OpenAPIV3Config.Info.Title = "kubecert lab"

	if err := o.serving.ApplyTo(&config.SecureServing, &config.LoopbackClientConfig); err != nil {
		return nil, err
	}
	err := o.authentication.ApplyTo(&config.Authentication, config.SecureServing, config.OpenAPIConfig)
	if err != nil {
		return nil, err
	}
	if err := o.authorization.ApplyTo(&config.Authorization); err != nil {
		return nil, err
	}

	// No informers: nothing here watches the cluster's own objects.
	server, err := config.Complete(nil).New("extension-apiserver", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, err
	}
	group := genericapiserver.NewDefaultAPIGroupInfo(groupVersion.Group, scheme, parameterCodec, codecs)
	group.VersionedResourcesStorageMap[groupVersion.Version] = map[string]rest.Storage{
		resource: newStorage(),
	}
	return server, server.InstallAPIGroup(&group)
}
