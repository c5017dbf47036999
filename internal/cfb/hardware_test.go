//go:build amd64 || arm64

package cfb

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// self is how tests reach into engines that expand the key themselves, also into
// those that embed hardware.
func (h *hardware) self() *hardware { return h }

func hardwareOf(t *testing.T, k *Key) *hardware {
	t.Helper()
	e, ok := k.engine.(interface{ self() *hardware })
	if !ok {
		t.Fatalf("%T has no schedule of its own", k.engine)
	}
	return e.self()
}

// FIPS-197, A.1 to A.3: each round key is made of those before, so the last one
// stands for all.
func TestKeyExpansion(t *testing.T) {
	for _, v := range []struct{ key, lastRoundKey string }{
		{"2b7e151628aed2a6abf7158809cf4f3c", "d014f9a8c9ee2589e13f0cc8b6630ca6"},
		{"8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", "e98ba06f448c773c8ecc720401002202"},
		{"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "fe4890d1e6188d0b046df344706c631e"},
	} {
		for _, i := range hardwareAES() {
			h := hardwareOf(t, mustKey(t, i, unhex(t, v.key)))
			got, err := binary.Append(nil, binary.LittleEndian, h.schedule[4*h.rounds:][:4])
			if want := unhex(t, v.lastRoundKey); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: the last round key of %s is %x", i.name, v.key, got)
			}
		}
	}
}

func TestSubWord(t *testing.T) {
	if len(hardwareAES()) == 0 {
		return // nothing here uses it
	}
	for w, want := range map[uint32]uint32{0: 0x63636363, 0x53525100: 0xed00d163, 0xcf4f3c09: 0x8a84eb01} {
		if got := subWord(w); got != want {
			t.Errorf("SubWord of %08x is %08x", w, got)
		}
	}
}

func TestWipeLeavesNoRoundKey(t *testing.T) {
	for _, i := range hardwareAES() {
		k := mustKey(t, i, []byte("0123456789abcdef0123456789abcdef"))
		h := hardwareOf(t, k)
		if h.schedule == (schedule{}) {
			t.Fatalf("%s: the key is not where it is looked for", i.name)
		}
		if k.Wipe(); h.schedule != (schedule{}) {
			t.Errorf("%s: left are %x", i.name, h.schedule)
		}
	}
}
