package admin

import (
	"fmt"
	"strings"
)

// The measures of a plot, in units of its picture. There is no text in it, since
// that would grow and shrink with the window.
const (
	slot      = 10 // width of a day
	plotWidth = historyDays * slot
	plotTop   = 3
	plotBase  = 60
	plotHigh  = 72 // with the marks of failures below the base
)

// plot is a picture of one measure over the last days.
type plot struct {
	ID        int
	Name      string
	Newest    string // value of the newest day that has one
	Max       string
	From, To  string // dates
	Described string // in words, for those who do not see it
	Width     int
	High      int
	Base      int

	Bars  []bar
	Line  string // a path
	Area  string // below it
	Dots  []dot
	Marks []string // paths of crosses: nothing was done that day
	Hits  []hit
}

type (
	bar struct{ X, Y, W, H string }
	dot struct{ X, Y string }
	// hit is where a mouse sees the numbers of a day.
	hit struct {
		X     int
		Title string
	}
)

func plotOf(id int, m measure, days []day) plot {
	p := plot{ID: id, Name: m.Name, Width: plotWidth, High: plotHigh, Base: plotBase,
		From: days[0].Began.Format("2 Jan"), To: days[len(days)-1].Began.Format("2 Jan")}
	var highest int64
	ran, failed := 0, 0
	for _, d := range days {
		if d.Ran {
			ran++
			highest = max(highest, m.Value(d))
			p.Newest = m.Text(m.Value(d))
		} else if d.Failed {
			failed++
		}
	}
	for i, d := range days {
		p.add(i, d, m, highest)
	}
	p.closeArea()
	p.Max = m.Text(highest)
	p.Described = fmt.Sprintf("The last %d days: %d with a run that was done, %d on which all failed.", len(days), ran, failed)
	if ran > 0 {
		p.Described += " Highest " + p.Max + ", newest " + p.Newest + "."
	}
	return p
}

func (p *plot) add(i int, d day, m measure, highest int64) {
	middle := float64(i*slot) + slot/2.0
	switch {
	case d.Ran:
		y := plotHeight(m.Value(d), highest)
		if m.Line {
			p.point(middle, y)
		} else if m.Value(d) > 0 {
			p.Bars = append(p.Bars, bar{number(middle - 3.5), number(y), "7", number(plotBase - y)})
		}
		p.Hits = append(p.Hits, hit{i * slot, dateOf(d.Began) + ": " + m.Text(m.Value(d))})
	case d.Failed:
		p.Marks = append(p.Marks, fmt.Sprintf("M%s %dl6 6m0 -6l-6 6", number(middle-3), plotBase+4))
		p.Hits = append(p.Hits, hit{i * slot, dateOf(d.Began) + ": failed"})
	}
}

// plotHeight is where a value is, of which something is seen unless it is 0.
func plotHeight(value, highest int64) float64 {
	if value <= 0 || highest <= 0 {
		return plotBase
	}
	return min(plotBase-float64(plotBase-plotTop)*float64(value)/float64(highest), plotBase-1.5)
}

func (p *plot) point(x, y float64) {
	command := "L"
	if p.Line == "" {
		command = "M"
	}
	p.Line += command + number(x) + " " + number(y)
	p.Dots = append(p.Dots, dot{number(x), number(y)})
}

func (p *plot) closeArea() {
	if n := len(p.Dots); n > 1 {
		p.Area = fmt.Sprintf("%sL%s %dL%s %dZ", p.Line, p.Dots[n-1].X, plotBase, p.Dots[0].X, plotBase)
	}
}

func number(f float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") }
