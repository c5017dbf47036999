package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseYAML reads one mapping of keys to single values. It works on the nodes
// because decoding would turn 01:10, 007 and yes into something else.
func parseYAML(path string, data []byte) (map[string]entry, error) {
	entries := map[string]entry{}
	seen := map[string]*yaml.Node{}
	root, err := parseDocument(path, data)
	if err != nil || root == nil {
		return entries, err
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		fail := func(what string) error {
			return fmt.Errorf("%w: %s:%d: key %q: %s", ErrInvalid, path, key.Line, key.Value, what)
		}
		if key.Kind != yaml.ScalarNode {
			return nil, fail("a key must be a single word")
		}
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		// Chipster's own chart writes some keys once for each database. Which of
		// two values is meant nobody can know.
		if first := seen[key.Value]; first != nil && isKnown(key.Value) && (first.Kind != value.Kind || first.Value != value.Value) {
			return nil, fail(fmt.Sprintf("it is in line %d already, with another value", first.Line))
		}
		seen[key.Value] = value
		if value.Kind != yaml.ScalarNode && !isKnown(key.Value) && key.Value != mergeKey {
			continue // the file is all of Chipster's: what is in it for others is theirs
		}
		if value.Kind != yaml.ScalarNode {
			return nil, fail("must have a single value, not a list or a map")
		}
		if value.ShortTag() == "!!null" {
			continue // `key:` with nothing behind it is as good as absent
		}
		entries[key.Value] = entry{value.Value, fmt.Sprintf("file %s:%d", path, key.Line)}
	}
	return entries, nil
}

// mergeKey would bring in the keys of another map, ours perhaps among them.
const mergeKey = "<<"

// parseDocument returns nil for a file without content.
func parseDocument(path string, data []byte) (*yaml.Node, error) {
	var document, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, path, err)
	}
	// What follows the first document would be ignored, and with it perhaps a key.
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %s: must be a single YAML document", ErrInvalid, path)
	}
	if len(document.Content) == 0 {
		return nil, nil
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%w: %s:%d: must be lines of `key: value`", ErrInvalid, path, root.Line)
	}
	return root, nil
}

// maxSecret is the largest file of a secret, in bytes: a wrong name should not
// read a disk image.
const maxSecret = 64 << 10

// readSecret reads the file that a `<key>-file` names, without the line end that
// editors add.
func readSecret(key string, named entry) (text, warning string, err error) {
	fail := func(err error) (string, string, error) {
		return "", "", fmt.Errorf("%s-file (%s): %w", key, named.source, err)
	}
	f, err := os.Open(named.text)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return fail(err)
	}
	if len(data) > maxSecret {
		return fail(fmt.Errorf("%w: %s is over %d bytes, too large for a secret", ErrInvalid, named.text, maxSecret))
	}
	if len(bytes.TrimRight(data, "\r\n")) == 0 {
		return fail(fmt.Errorf("%w: %s is empty", ErrInvalid, named.text))
	}
	if info.Mode().Perm()&0o004 != 0 {
		warning = fmt.Sprintf("%s, which holds a secret, is readable by everyone: chmod 600 %[1]s", named.text)
	}
	return strings.TrimRight(string(data), "\r\n"), warning, nil
}
