//go:build race

package catalog

// SQLite is some ten times slower under the race detector.
const underRace = true
