package cfb

import "golang.org/x/sys/cpu"

// hardwareAES asks for AVX-512's foundation besides VAES: the instructions are
// those for whole 512-bit registers. cpu says yes only if the system saves these.
func hardwareAES() []implementation {
	if !cpu.X86.HasAES {
		return nil
	}
	found := []implementation{{"aesni", newHardware}}
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512VAES {
		found = append(found, implementation{"vaes", newVAES})
	}
	return found
}

// vaes decrypts four blocks a register. It encrypts no faster: one block has to
// wait for the other.
type vaes struct{ hardware }

func newVAES(key []byte) engine {
	v := new(vaes)
	v.setKey(key)
	return v
}

func (v *vaes) decrypt(last *[BlockSize]byte, dst, src []byte) {
	const group = 32 * BlockSize
	whole := len(src) &^ (group - 1)
	if whole > 0 {
		decryptThirtyTwos(v.rounds, &v.schedule, last, dst[:whole], src[:whole])
	}
	v.hardware.decrypt(last, dst[whole:], src[whole:])
}

// decryptThirtyTwos is an engine's decrypt for multiples of 32 blocks, not none.
//
//go:noescape
func decryptThirtyTwos(rounds int, w *schedule, last *[BlockSize]byte, dst, src []byte)
