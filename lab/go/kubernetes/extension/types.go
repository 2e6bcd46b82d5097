package extension

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	openapicommon "k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	openapi "k8s.io/kubernetes/pkg/generated/openapi"
)

const (
	resource = "greetings"
	singular = "greeting"
)

var (
	groupVersion   = schema.GroupVersion{Group: "lab.kubecert.dev", Version: "v1"}
	scheme         = runtime.NewScheme()
	parameterCodec = runtime.NewParameterCodec(scheme)
)

// A Greeting tells its reader who the server takes them to be.
type Greeting struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Caller string   `json:"caller"`
	Groups []string `json:"groups,omitempty"`
}

// A GreetingList is what listing greetings gives.
type GreetingList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Greeting `json:"items"`
}

// DeepCopyObject makes Greeting an object of the scheme.
func (in *Greeting) DeepCopyObject() runtime.Object {
	out := *in
	in.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Groups = append([]string(nil), in.Groups...)
	return &out
}

// DeepCopyObject makes GreetingList an object of the scheme.
func (in *GreetingList) DeepCopyObject() runtime.Object {
	out := *in
	in.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = make([]Greeting, 0, len(in.Items))
	for i := range in.Items {
		out.Items = append(out.Items, *in.Items[i].DeepCopyObject().(*Greeting))
	}
	return &out
}

func init() {
	// The one version is also the internal one: there is nothing to convert between.
	internal := schema.GroupVersion{Group: groupVersion.Group, Version: runtime.APIVersionInternal}
	for _, version := range []schema.GroupVersion{groupVersion, internal} {
		scheme.AddKnownTypes(version, &Greeting{}, &GreetingList{})
	}
	metav1.AddToGroupVersion(scheme, groupVersion)
	// Errors and discovery documents are of the group-less version v1.
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"}, &metav1.Status{},
		&metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	utilruntime.Must(scheme.SetVersionPriority(groupVersion))
}

// openAPIDefinitions describes our two types; those they are made of are Kubernetes' own.
func openAPIDefinitions(ref openapicommon.ReferenceCallback) map[string]openapicommon.OpenAPIDefinition {
	const (
		here = "kubecert.lab/kubernetes/extension."
		meta = "k8s.io/apimachinery/pkg/apis/meta/v1."
	)
	text := func() spec.Schema { return *spec.StringProperty() }
	kind := map[string]spec.Schema{"apiVersion": text(), "kind": text()}
	object := func(properties map[string]spec.Schema) spec.Schema {
		for name, property := range kind {
			properties[name] = property
		}
		return spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, Properties: properties}}
	}
	reference := func(name string) spec.Schema {
		return spec.Schema{SchemaProps: spec.SchemaProps{
			Default: map[string]any{}, Ref: ref(name)}}
	}
	item, groups := reference(here+"Greeting"), text()

	definitions := openapi.GetOpenAPIDefinitions(ref)
	definitions[here+"Greeting"] = openapicommon.OpenAPIDefinition{
		Schema: object(map[string]spec.Schema{
			"metadata": reference(meta + "ObjectMeta"),
			"caller":   text(),
			"groups":   *spec.ArrayProperty(&groups),
		}),
		Dependencies: []string{meta + "ObjectMeta"},
	}
	definitions[here+"GreetingList"] = openapicommon.OpenAPIDefinition{
		Schema: object(map[string]spec.Schema{
			"metadata": reference(meta + "ListMeta"),
			"items":    *spec.ArrayProperty(&item),
		}),
		Dependencies: []string{here + "Greeting", meta + "ListMeta"},
	}
	return definitions
}
