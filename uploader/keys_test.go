package uploader

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys"
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
	return envelope.NewOpener(privateKeys(t, name))
}

func signerOf(t *testing.T, name string) *signature.Signer {
	t.Helper()
	s, err := signature.NewSigner(privateKeys(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func privateKeys(t *testing.T, name string) openpgp.EntityList {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(fixtures, "keys", name+".private.base64"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := keys.ParsePrivate(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
