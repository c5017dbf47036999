package admin

import (
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "under 1 s", 0: "under 1 s", 999 * time.Millisecond: "under 1 s", time.Second: "1 s",
		59900 * time.Millisecond: "59 s", time.Minute: "1 min", 61 * time.Second: "1 min 1 s", 3599 * time.Second: "59 min 59 s",
		time.Hour: "1 h", 90*time.Minute + 59*time.Second: "1 h 30 min", 47*time.Hour + 59*time.Minute: "47 h 59 min",
		48 * time.Hour: "2 days", 100 * time.Hour: "4 days 4 h",
	} {
		if got := duration(d); got != want {
			t.Errorf("%s: %s, not %s", d, got, want)
		}
	}
}

func TestRelative(t *testing.T) {
	now := time.Now()
	for d, want := range map[time.Duration]string{
		0: "just now", -59 * time.Second: "in a moment", 61 * time.Second: "1 minute ago", 59 * time.Minute: "59 minutes ago",
		59*time.Minute + 45*time.Second: "1 hour ago", 25 * time.Hour: "25 hours ago", 36 * time.Hour: "2 days ago",
		-11 * time.Hour: "in 11 hours", -72 * time.Hour: "in 3 days", 400 * 24 * time.Hour: "400 days ago",
	} {
		if got := relative(now.Add(-d), now); got != want {
			t.Errorf("%s: %s, not %s", d, got, want)
		}
	}
	if moment(time.Time{}, now) != nil {
		t.Error("never is a moment")
	}
}

func TestLocalTimes(t *testing.T) {
	old := time.Local
	defer func() { time.Local = old }()
	now := time.Date(2026, 11, 23, 23, 30, 0, 0, time.UTC)
	for name, want := range map[string][3]string{
		"Europe/Helsinki":  {"Tue 24 Nov, 01:30", "Tue 31 Dec 2024, 02:00", "EET, UTC+02:00"},
		"UTC":              {"Mon 23 Nov, 23:30", "Tue 31 Dec 2024, 00:00", "UTC"},
		"Asia/Kathmandu":   {"Tue 24 Nov, 05:15", "Tue 31 Dec 2024, 05:45", "UTC+05:45"},
		"America/St_Johns": {"Mon 23 Nov, 20:00", "Mon 30 Dec 2024, 20:30", "NST, UTC-03:30"},
	} {
		var err error
		time.Local, err = time.LoadLocation(name)
		must(t, err)
		got := [3]string{local(now, now), local(time.Date(2024, 12, 31, 0, 0, 0, 0, time.UTC), now), zone(now)}
		if got != want {
			t.Errorf("%s: %q, not %q", name, got, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{-5: "0 B", 0: "0 B", 1023: "1023 B", 5 << 30: "5.0 GiB", 1 << 62: "4.0 EiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, not %s", n, got, want)
		}
	}
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "plain ä 漢 ✓": "plain ä 漢 ✓", "a\nb\tc": `a\nb\tc`, "\x1b[2J": `\x1b[2J`, "\xff\xfe": `\xff\xfe`,
		"a\u202eb\u2066": `a\u202eb\u2066`, "\u200b": `\u200b`, "\uFFFD": "\uFFFD", "\x00": `\x00`, `'"\`: `'"\`,
	} {
		if got := visible(in); got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
	if got := visibleLines("a\n\tb\r\x07"); got != "a\n\tb\\r\\a" {
		t.Errorf("%q", got)
	}
}

func FuzzVisible(f *testing.F) {
	for _, seed := range []string{"", "plain", "\x1b\xff\u202e", "\uFFFD\xef\xbf"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out := visible(in)
		for _, r := range out {
			if !unicode.IsPrint(r) {
				t.Errorf("%q: %q has %q", in, out, r)
			}
		}
		if !utf8.ValidString(out) || visible(out) != out {
			t.Errorf("%q: %q", in, out)
		}
	})
}
