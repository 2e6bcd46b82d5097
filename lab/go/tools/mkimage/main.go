// Command mkimage writes the lab's container images as one docker archive, without any
// container tool or registry.
//
//	mkimage -bin DIR -rootfs DIR -out FILE [-name IMAGE=NAME:TAG]...
//	mkimage -list [-name IMAGE=NAME:TAG]...
//
// The programs come from the directory given with -bin; what kube-proxy needs beside its own
// program (iptables, nft, conntrack), and busybox, from the root file system given with
// -rootfs. Every image is called kubecert.lab/IMAGE:TAG and, in addition, by each name given
// for it with -name. -list prints one line "IMAGE NAME:TAG" for each name.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// What the build script puts in with the linker.
var (
	kubernetesVersion = "v0.0.0"
	etcdVersion       = "0.0.0"
)

// names maps an image to the further names it shall have.
type names map[string][]string

func (n names) String() string { return "" }

func (n names) Set(value string) error {
	image, name, ok := strings.Cut(value, "=")
	// A name without a tag would be taken for :latest, and such an image is never found
	// locally but always pulled.
	if !ok || !strings.Contains(name[strings.LastIndex(name, "/")+1:], ":") {
		return errors.New("want IMAGE=NAME:TAG")
	}
	n[image] = append(n[image], name)
	return nil
}

func main() {
	further := names{}
	bin := flag.String("bin", "", "`directory` of the lab's programs")
	root := flag.String("rootfs", "", "root file system, a `directory`, to take tools and libraries from")
	out := flag.String("out", "", "`file` to write")
	list := flag.Bool("list", false, "only print the images and their names")
	flag.Var(further, "name", "a further name for an image, as `IMAGE=NAME:TAG`; may be repeated")
	flag.Parse()
	if flag.NArg() > 0 || !*list && (*bin == "" || *root == "" || *out == "") {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*bin, rootfs(*root), *out, *list, further); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run(bin string, root rootfs, out string, list bool, further names) error {
	recipes := recipes()
	for i := range recipes {
		recipe := &recipes[i]
		recipe.names = append([]string{"kubecert.lab/" + recipe.image + ":" + recipe.tag}, further[recipe.image]...)
		delete(further, recipe.image)
	}
	for unknown := range further {
		return fmt.Errorf("-name: there is no image %q", unknown)
	}
	if list {
		for _, recipe := range recipes {
			for _, name := range recipe.names {
				fmt.Println(recipe.image, name)
			}
		}
		return nil
	}

	made := map[string]finishedLayer{}
	var images []image
	for _, recipe := range recipes {
		image := image{title: recipe.image, names: recipe.names, entrypoint: recipe.entrypoint}
		for _, part := range recipe.layers {
			if _, ok := made[part.name]; !ok {
				l := newLayer()
				if err := part.fill(l, source{bin, root}); err != nil {
					return fmt.Errorf("layer %s: %w", part.name, err)
				}
				finished, err := l.finish()
				if err != nil {
					return err
				}
				made[part.name] = finished
			}
			image.layers = append(image.layers, made[part.name])
		}
		images = append(images, image)
	}
	return writeArchive(out, images)
}

// A source is where the content of layers comes from.
type source struct {
	bin  string
	root rootfs
}

func (s source) has(program string) bool {
	_, err := os.Stat(filepath.Join(s.bin, program))
	return err == nil
}

// program adds one of the lab's own programs.
func (s source) program(l *layer, name, program string) error {
	return l.file(name, filepath.Join(s.bin, program), 0o755)
}
