package admin

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
)

// size is a number of bytes for people: 1.2 GiB.
func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// count is a number for people: 1,234,567.
func count(n int64) string { return humanize.Comma(n) }

// counted is a number of things: 1 file, 2 files.
func counted(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return count(n) + " " + thing + "s"
}

// duration is for people, of two units at most: 2 h 5 min.
func duration(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return "under 1 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return units(d, time.Minute, "min", time.Second, "s")
	case d < 48*time.Hour:
		return units(d, time.Hour, "h", time.Minute, "min")
	}
	return units(d, 24*time.Hour, "days", time.Hour, "h")
}

func units(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	text := fmt.Sprintf("%d %s", d/large, largeName)
	if rest := d % large / small; rest > 0 {
		text += fmt.Sprintf(" %d %s", rest, smallName)
	}
	return text
}

// when is an instant as the page shows it.
type when struct {
	ISO      string // for machines
	Absolute string // in the host's time zone
	Relative string
}

// moment tells when t is, seen from now; nil for the zero time.
func moment(t, now time.Time) *when {
	if t.IsZero() {
		return nil
	}
	return &when{ISO: t.UTC().Format(time.RFC3339), Absolute: local(t, now), Relative: relative(t, now)}
}

// local leaves out the year where it is this one.
func local(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.Year() == now.Year() {
		return t.Format("Mon 2 Jan, 15:04")
	}
	return t.Format("Mon 2 Jan 2006, 15:04")
}

func relative(t, now time.Time) string {
	d := now.Sub(t)
	future := d < 0
	var text string
	switch d = d.Abs(); {
	case d < time.Minute && future:
		return "in a moment"
	case d < time.Minute:
		return "just now"
	case d < 59*time.Minute+30*time.Second:
		text = counted(int64(d.Round(time.Minute)/time.Minute), "minute")
	case d < 36*time.Hour:
		text = counted(int64(d.Round(time.Hour)/time.Hour), "hour")
	default:
		text = counted(int64(d.Round(24*time.Hour)/(24*time.Hour)), "day")
	}
	if future {
		return "in " + text
	}
	return text + " ago"
}

// visible shows what a terminal or a browser would act on, or hide: control
// characters, directions of writing, bytes that are no text.
func visible(s string) string {
	return escape(s, func(r rune) bool { return unicode.IsPrint(r) })
}

// visibleLines leaves ends of lines and tabs as they are.
func visibleLines(s string) string {
	return escape(s, func(r rune) bool { return r == '\n' || r == '\t' || unicode.IsPrint(r) })
}

func escape(s string, harmless func(rune) bool) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == unicode.ReplacementChar && s[i] != "\uFFFD"[0]:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case harmless(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// zone names the host's time zone.
func zone(now time.Time) string {
	name, offset := now.Local().Zone()
	utc := fmt.Sprintf("UTC%+03d:%02d", offset/3600, max(offset, -offset)%3600/60)
	if offset == 0 || strings.ContainsAny(name[:1], "+-") {
		return strings.TrimSuffix(utc, "+00:00")
	}
	return name + ", " + utc
}
