package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// A layer is one file system layer of an image, being put together in memory.
//
// Nothing in it depends on when or where it was made, so the same programs give the same
// layer, and images that share a layer share its storage on a node.
type layer struct {
	data    bytes.Buffer
	archive *tar.Writer
	have    map[string]bool
}

func newLayer() *layer {
	l := &layer{have: map[string]bool{}}
	l.archive = tar.NewWriter(&l.data)
	return l
}

// finish closes the layer and returns its content and digest.
func (l *layer) finish() (finishedLayer, error) {
	if err := l.archive.Close(); err != nil {
		return finishedLayer{}, err
	}
	sum := sha256.Sum256(l.data.Bytes())
	return finishedLayer{data: l.data.Bytes(), digest: hex.EncodeToString(sum[:])}, nil
}

type finishedLayer struct {
	data   []byte
	digest string
}

// begin reserves a name and makes the directories above it. It returns false if the layer
// has the name already: the first entry of a name wins.
func (l *layer) begin(name string) (string, bool, error) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" || l.have[name] {
		return name, false, nil
	}
	if parent := path.Dir(name); parent != "." {
		if err := l.directory(parent, 0o755); err != nil {
			return name, false, err
		}
	}
	l.have[name] = true
	return name, true, nil
}

func (l *layer) directory(name string, mode int64) error {
	name, missing, err := l.begin(name)
	if !missing {
		return err
	}
	return l.archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode})
}

func (l *layer) symlink(name, target string) error {
	name, missing, err := l.begin(name)
	if !missing {
		return err
	}
	return l.archive.WriteHeader(
		&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
}

// hardlink makes another name for a file that the layer already has.
func (l *layer) hardlink(name, target string) error {
	target = strings.TrimPrefix(path.Clean("/"+target), "/")
	if !l.have[target] {
		return fmt.Errorf("%s: no %s to link to", name, target)
	}
	name, missing, err := l.begin(name)
	if !missing {
		return err
	}
	return l.archive.WriteHeader(
		&tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o755})
}

func (l *layer) text(name, content string) error {
	name, missing, err := l.begin(name)
	if !missing {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o644}
	if err := l.archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.WriteString(l.archive, content)
	return err
}

// file copies a file of this machine into the layer.
func (l *layer) file(name, source string, mode int64) error {
	name, missing, err := l.begin(name)
	if !missing {
		return err
	}
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", source)
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: mode}
	if err := l.archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(l.archive, in)
	return err
}
