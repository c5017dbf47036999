package envelope

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
)

// Prepare does the public-key operation, and the one who opens the file then
// needs no key any more.
func TestPrepare(t *testing.T) {
	kind := kinds(t)["rsa"]
	sealed := seal(t, kind.Recipients, content(1000))
	if err := kind.Opener.Prepare(bytes.NewReader(sealed), true); err != nil {
		t.Fatal(err)
	}
	kind.Opener.keys = nil
	if got, err := open(kind.Opener, sealed, true); err != nil || !bytes.Equal(got, content(1000)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	other := seal(t, kind.Recipients, nil)
	if err := kind.Opener.Prepare(bytes.NewReader(other), true); !errors.Is(err, ErrKey) {
		t.Errorf("without a key: %v", err)
	}
	if err := kind.Opener.Prepare(bytes.NewReader(nil), false); err != nil {
		t.Errorf("not encrypted: %v", err)
	}
}

// Many who open files of one package at once get the key from one operation,
// also where one of the files is damaged.
func TestOpenSideBySide(t *testing.T) {
	kind := kinds(t)["rsa"]
	session, err := kind.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 16 {
		sealed := sealWith(t, session, content(100+i))
		bad := i%4 == 0
		if bad {
			sealed[len(session.header)+3] ^= 1 // of the random bytes by which a key is recognized
		}
		all.Go(func() {
			got, err := open(kind.Opener, sealed, true)
			if bad != (err != nil) || !bad && !bytes.Equal(got, content(100+i)) {
				t.Errorf("file %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	all.Wait()
}

// After Wipe nothing is left that could open a file.
func TestOpenerWipe(t *testing.T) {
	k := kinds(t)
	for _, name := range []string{"rsa", "curve", "passphrase"} {
		kind := k[name]
		if name == "passphrase" {
			kind.Opener = NewOpener(nil, bytes.Clone(passphrase))
		}
		sealed := seal(t, kind.Recipients, content(100))
		if _, err := open(kind.Opener, sealed, true); err != nil {
			t.Fatal(err)
		}
		var given [][]byte
		given = append(given, kind.Opener.passphrases...)
		if len(kind.Opener.sessions) != 1 {
			t.Fatalf("%s: %d session keys", name, len(kind.Opener.sessions))
		}
		for _, key := range kind.Opener.sessions {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: the session key still works", name)
				}
			}()
			defer key.NewEncrypter([16]byte{}).Encrypt(make([]byte, 16), make([]byte, 16))
		}
		kind.Opener.Wipe()
		for _, p := range given {
			if !bytes.Equal(p, make([]byte, len(p))) {
				t.Errorf("%s: the passphrase is left", name)
			}
		}
		if r, err := kind.Opener.NewReader(bytes.NewReader(sealed), true); !errors.Is(err, ErrKey) {
			io.Copy(io.Discard, r)
			t.Errorf("%s: opened all the same: %v", name, err)
		}
	}
}
