// Package firn_test holds the one test that is about all packages.
package firn_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/chipster/firn/"

// layers says which packages of this module each may import. Arrows go down
// only, and the four that do the work do not know one another.
var layers = map[string][]string{
	"internal/backupname":            {},
	"internal/keys":                  {},
	"internal/config":                {},
	"internal/objstore":              {},
	"internal/objstore/objstoretest": {"internal/objstore"},
	"internal/postgres":              {},
	"internal/postgres/postgrestest": {},
	"internal/manifest":              {"internal/backupname"},
	"internal/cfb":                   {},
	"internal/keys/keystest":         {"internal/keys"},
	"internal/memorytest":            {},
	"internal/extsort":               {},
	"internal/shard":                 {},
	"internal/workers":               {},
	"internal/gpgtest":               {},
	"internal/heartbeat":             {},
	"internal/faultfs":               {},
	"internal/sha512x2":              {},
	"internal/envelope":              {"internal/cfb", "internal/keys", "internal/manifest", "internal/sha512x2"},
	"internal/signature":             {"internal/backupname", "internal/keys", "internal/manifest"},
	"internal/catalog":               {"internal/backupname", "internal/extsort", "internal/manifest", "internal/signature"},
	"internal/verify":                {"internal/backupname", "internal/catalog", "internal/envelope", "internal/extsort", "internal/manifest", "internal/shard", "internal/workers"},
	"internal/restore":               {"internal/backupname", "internal/catalog", "internal/envelope", "internal/manifest", "internal/postgres", "internal/shard", "internal/workers"},
	"internal/drill":                 {"internal/catalog", "internal/envelope", "internal/manifest", "internal/postgres", "internal/restore", "internal/signature"},
	"fs":                             {"internal/backupname", "internal/catalog", "internal/envelope", "internal/manifest"},
	"archiver":                       {"internal/heartbeat", "internal/backupname", "internal/extsort", "internal/manifest", "internal/objstore", "internal/signature", "internal/workers"},
	"uploader":                       {"internal/heartbeat", "internal/backupname", "internal/envelope", "internal/extsort", "internal/manifest", "internal/objstore", "internal/postgres", "internal/shard", "internal/signature"},
	"internal/schedule":              {},
	"internal/runs":                  {},
	"service":                        {"internal/runs", "internal/schedule"},
	"metrics":                        {"fs", "internal/objstore", "internal/runs", "service"},
	"admin":                          {"internal/runs", "service"},
	"cmd/firn":                       nil, // anything
}

// What is tested without the race detector has no goroutines.
func TestSequential(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?m)^SEQUENTIAL := (.*)$`).FindSubmatch(makefile)
	if list == nil {
		t.Fatal("the Makefile has no SEQUENTIAL")
	}
	concurrent := regexp.MustCompile(`\bgo func|\bgo [\w.]+\(|\.Go\(|"golang.org/x/sync|"sync"`)
	for _, name := range strings.Fields(string(list[1])) {
		files, err := filepath.Glob(filepath.Join("internal", name, "*.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: %v", name, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if concurrent.Match(text) {
				t.Errorf("%s is concurrent: take %s off SEQUENTIAL", file, name)
			}
		}
	}
}

func TestImportsGoDown(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(strings.ReplaceAll(line, module, "firn/"))
		name := strings.TrimPrefix(fields[0], "firn/")
		allowed, known := layers[name]
		if !known && !strings.HasPrefix(fields[0], strings.TrimSuffix(module, "/")) {
			t.Errorf("%s is in no layer", name)
		}
		for _, imported := range fields[1:] {
			lower, ours := strings.CutPrefix(imported, "firn/")
			if ours && name != "cmd/firn" && !slices.Contains(allowed, lower) {
				t.Errorf("%s imports %s", name, lower)
			}
			if !strings.HasPrefix(name, "internal/objstore") && strings.Contains(imported, "aws-sdk-go") {
				t.Errorf("%s imports %s, which only the object store may", name, imported)
			}
		}
	}
}
