package extension

import (
	"context"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// storage serves the one greeting there is. It keeps nothing.
type storage struct{ rest.TableConvertor }

var (
	_ rest.Storage              = storage{}
	_ rest.Scoper               = storage{}
	_ rest.Getter               = storage{}
	_ rest.Lister               = storage{}
	_ rest.SingularNameProvider = storage{}
)

func newStorage() storage {
	return storage{rest.NewDefaultTableConvertor(groupVersion.WithResource(resource).GroupResource())}
}

func (storage) New() runtime.Object     { return &Greeting{} }
func (storage) NewList() runtime.Object { return &GreetingList{} }
func (storage) Destroy()                {}
func (storage) NamespaceScoped() bool   { return false }
func (storage) GetSingularName() string { return singular }

func (storage) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	greeting := greet(ctx)
	if name != greeting.Name {
		return nil, errors.NewNotFound(groupVersion.WithResource(resource).GroupResource(), name)
	}
	return &greeting, nil
}

func (storage) List(ctx context.Context, _ *internalversion.ListOptions) (runtime.Object, error) {
	return &GreetingList{Items: []Greeting{greet(ctx)}}, nil
}

func greet(ctx context.Context) Greeting {
	greeting := Greeting{ObjectMeta: metav1.ObjectMeta{Name: "hello"}}
	if user, ok := request.UserFrom(ctx); ok {
		greeting.Caller, greeting.Groups = user.GetName(), user.GetGroups()
	}
	return greeting
}
