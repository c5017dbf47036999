// Package keystest gives tests the keys that the original's samples are sealed for.
package keystest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/chipster/firn/internal/keys"
)

// Private is the private key called name: "chipster", which is RSA, or "curve".
func Private(t testing.TB, name string) openpgp.EntityList {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(project(t), "testdata", "original", "keys", name+".private.base64"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := keys.ParsePrivate(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// project is the folder above the test's that has the module.
func project(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatalf("no go.mod above this test: %v", err)
	return ""
}
