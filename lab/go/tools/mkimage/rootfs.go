package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// A rootfs is a root file system to take programs from, together with the shared libraries
// they need. It is only read, none of its programs is run, so it may be that of another
// distribution than this machine's.
type rootfs string

// resolve follows symbolic links within the root file system, an absolute link being one
// from its root, and returns the final name inside it.
func (r rootfs) resolve(name string) (string, error) {
	rest := strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/")
	at := "/"
	for hops := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		target, err := os.Readlink(r.host(next))
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return "", fmt.Errorf("%s: %w", name, os.ErrNotExist)
			}
			at = next // not a link
			continue
		}
		if hops++; hops > 40 {
			return "", fmt.Errorf("%s: too many symbolic links", name)
		}
		if !path.IsAbs(target) {
			target = path.Join(at, target)
		}
		rest = append(strings.Split(strings.Trim(path.Clean(target), "/"), "/"), rest...)
		at = "/"
	}
	return at, nil
}

// host is the name by which this machine knows a file of the root file system.
func (r rootfs) host(name string) string { return filepath.Join(string(r), name) }

func (r rootfs) has(name string) bool {
	_, err := r.resolve(name)
	return err == nil
}

// program adds a program and everything its dynamic linker will look for. The program keeps
// its name in the image, even where the root file system has a link by that name; programs
// that are several names for one file become so in the image too.
func (r rootfs) program(l *layer, name string) error {
	real, err := r.resolve(name)
	if err != nil {
		return err
	}
	if err := l.file(real, r.host(real), 0o755); err != nil {
		return err
	}
	if path.Clean("/"+name) != real {
		if err := l.symlink(name, real); err != nil {
			return err
		}
	}
	return r.libraries(l, real)
}

// libraries adds what the file names as its dynamic linker and needed libraries, and what
// those need in turn.
func (r rootfs) libraries(l *layer, name string) error {
	file, err := elf.Open(r.host(name))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer file.Close()
	for _, segment := range file.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		linker := make([]byte, segment.Filesz)
		if _, err := segment.ReadAt(linker, 0); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := r.library(l, strings.TrimRight(string(linker), "\x00")); err != nil {
			return err
		}
	}
	needed, err := file.ImportedLibraries()
	if err != nil {
		return nil //nolint:nilerr // a static program has no dynamic section
	}
	directories, err := r.libraryDirectories()
	if err != nil {
		return err
	}
	for _, library := range needed {
		found := false
		for _, directory := range directories {
			if candidate := path.Join(directory, library); r.has(candidate) {
				if err := r.library(l, candidate); err != nil {
					return err
				}
				found = true
				break
			}
		}
		if !found {
			return fmt.Errorf("%s needs %s, which is not in %v", name, library, directories)
		}
	}
	return nil
}

// library adds a shared library under the name the dynamic linker will ask for.
func (r rootfs) library(l *layer, name string) error {
	if l.have[strings.TrimPrefix(name, "/")] {
		return nil
	}
	real, err := r.resolve(name)
	if err != nil {
		return err
	}
	if err := l.file(name, r.host(real), 0o755); err != nil {
		return err
	}
	return r.libraries(l, real)
}

// libraryDirectories are Debian's, for whichever architecture the root file system has.
func (r rootfs) libraryDirectories() ([]string, error) {
	var directories []string
	for _, pattern := range []string{"/lib/*-linux-gnu", "/usr/lib/*-linux-gnu"} {
		found, err := filepath.Glob(r.host(pattern))
		if err != nil {
			return nil, err
		}
		for _, directory := range found {
			directories = append(directories, "/"+strings.Trim(strings.TrimPrefix(directory, string(r)), "/"))
		}
	}
	return append(directories, "/lib", "/usr/lib"), nil
}
