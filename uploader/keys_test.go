package uploader

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys"
	"github.com/chipster/firn/internal/keys/keystest"
	"github.com/chipster/firn/internal/signature"
)

func recipients(t *testing.T, name string) envelope.Recipients {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(fixtures, "keys", name+".public.asc"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := keys.ParsePublic(b)
	if err != nil {
		t.Fatal(err)
	}
	return envelope.Recipients{Keys: list}
}

func opener(t *testing.T, name string) *envelope.Opener {
	t.Helper()
	return envelope.NewOpener(keystest.Private(t, name))
}

func signerOf(t *testing.T, name string) *signature.Signer {
	t.Helper()
	s, err := signature.NewSigner(keystest.Private(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
