//go:build race

package verify

// What is fast becomes slow under the race detector: SQLite some ten times.
const underRace = true
