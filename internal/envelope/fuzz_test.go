package envelope

import (
	"bytes"
	"testing"
)

// sessionKeySeeds are packets of session keys, each with its tag before it.
func sessionKeySeeds(t testing.TB) (seeds [][]byte) {
	for _, kind := range []string{"rsa", "curve", "passphrase"} {
		s, err := kinds(t)[kind].NewSession()
		if err != nil {
			t.Fatal(err)
		}
		tag, b, err := readHeader(newReader(bytes.NewReader(s.header)))
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, append([]byte{tag}, s.header[len(s.header)-int(b.left):]...))
	}
	return append(seeds, []byte{tagSKESK, 4, 9, 0, 2}, []byte{tagSKESK, 4, 9, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8}, []byte{tagSKESK, 4, 9, 77, 0}, []byte{tagSKESK, 4, 9, 4, 0},
		[]byte{tagSKESK, 5, 9, 2}, []byte{tagSKESK, 6, 20, 9, 2}, []byte{tagPKESK, 3}, []byte{tagPKESK, 6, 0, 25})
}

func TestSessionKeySeedsExist(t *testing.T) {
	if n := len(sessionKeySeeds(t)); n < 10 {
		t.Errorf("%d seeds", n)
	}
}

// Whatever a packet of a session key: the keys that are found are keys, and
// nothing panics, which for the mount would be the end of all that it shows.
func FuzzSessionKey(f *testing.F) {
	for _, seed := range sessionKeySeeds(f) {
		f.Add(seed)
	}
	opener := NewOpener(privateKeys(f, "curve"), []byte("p"))
	f.Fuzz(func(t *testing.T, esk []byte) {
		if len(esk) == 0 || len(esk) > maxESK || esk[0] != tagPKESK && esk[0] != tagSKESK {
			return
		}
		if esk[0] == tagSKESK && len(esk) > 13 && esk[3] == 3 {
			esk = bytes.Clone(esk)
			esk[13] = 0 // to stretch the passphrase for long takes all of the time
		}
		found, who, err := opener.unlock(esk)
		if who == "" || err != nil && len(found) > 0 {
			t.Errorf("%d keys for %q, %v", len(found), who, err)
		}
		for _, key := range found {
			if key == nil {
				t.Error("no key")
			}
		}
	})
}
