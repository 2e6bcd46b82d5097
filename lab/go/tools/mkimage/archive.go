package main

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"runtime"
)

// An image is what the archive holds under one or more names.
type image struct {
	title      string
	names      []string
	layers     []finishedLayer
	entrypoint []string
}

// The time every image claims to have been made at; a real one would make every archive a
// different one.
const created = "2026-01-01T00:00:00Z"

// writeArchive writes the images as a docker archive, each layer once. The file appears
// under its name only when it is complete.
func writeArchive(path string, images []image) (err error) {
	partial := path + ".partial"
	out, err := os.Create(partial)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			out.Close()
			os.Remove(partial)
		}
	}()
	buffered := bufio.NewWriterSize(out, 1<<20)
	archive := tar.NewWriter(buffered)
	have := map[string]bool{}
	add := func(name string, content []byte) error {
		if have[name] {
			return nil
		}
		have[name] = true
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o644}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err := archive.Write(content)
		return err
	}

	type manifestEntry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var manifest []manifestEntry
	for _, image := range images {
		config, err := json.Marshal(configuration(image))
		if err != nil {
			return err
		}
		sum := sha256.Sum256(config)
		entry := manifestEntry{Config: hex.EncodeToString(sum[:]) + ".json", RepoTags: image.names}
		if err := add(entry.Config, config); err != nil {
			return err
		}
		for _, layer := range image.layers {
			name := layer.digest + "/layer.tar"
			if err := add(name, layer.data); err != nil {
				return err
			}
			entry.Layers = append(entry.Layers, name)
		}
		manifest = append(manifest, entry)
	}
	content, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	if err := add("manifest.json", content); err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(partial, path)
}

// configuration is the image's configuration file, as the image specification has it.
func configuration(image image) any {
	type history struct {
		Created   string `json:"created"`
		CreatedBy string `json:"created_by"`
	}
	process := map[string]any{
		"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		// Images that differ in nothing are one image to a node, which would then report
		// any of its names for a container.
		"Labels": map[string]string{"org.opencontainers.image.title": image.title},
	}
	if image.entrypoint != nil {
		process["Entrypoint"] = image.entrypoint
	}
	var digests []string
	var made []history
	for _, layer := range image.layers {
		digests = append(digests, "sha256:"+layer.digest)
		made = append(made, history{created, "kubecert lab"})
	}
	return map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"created":      created,
		"config":       process,
		"rootfs":       map[string]any{"type": "layers", "diff_ids": digests},
		"history":      made,
	}
}
