//go:build !amd64

package sha512x2

func hardwareSHA512() []implementation { return nil }

func blocks2(_, _ *[8]uint64, _, _ *byte, _ int) { panic("sha512x2: no assembly") }
