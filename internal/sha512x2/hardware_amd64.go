package sha512x2

import "golang.org/x/sys/cpu"

// hardwareSHA512 asks for AVX2 besides AVX-512, as both kinds of instructions are
// used. cpu says yes only if the system saves the registers.
func hardwareSHA512() []implementation {
	if !cpu.X86.HasAVX2 || !cpu.X86.HasAVX512F || !cpu.X86.HasAVX512VL {
		return nil
	}
	return []implementation{{"avx512", true}}
}

// blocks2 hashes n blocks from p0 on into s0, and n from p1 on into s1. The
// blocks may be the same, the states must not.
//
//go:noescape
func blocks2(s0, s1 *[8]uint64, p0, p1 *byte, n int)
