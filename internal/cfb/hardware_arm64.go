package cfb

import "golang.org/x/sys/cpu"

func hardwareAES() []implementation {
	if !cpu.ARM64.HasAES {
		return nil
	}
	return []implementation{{"arm64", newHardware}}
}
