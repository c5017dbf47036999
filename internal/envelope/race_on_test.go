//go:build race

package envelope

// runs is how often to do what chance has a part in: less under the race
// detector, where it takes ten times as long.
func runs(n int) int { return (n + 3) / 4 }
