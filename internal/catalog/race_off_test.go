//go:build !race

package catalog

const underRace = false
