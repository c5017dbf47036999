package main

import (
	"slices"
	"strings"
	"testing"
)

// Flags can be written anywhere; the library takes them in one place only.
func TestReorder(t *testing.T) {
	app := newApp()
	for line, want := range map[string]string{
		"firn":                                              "firn",
		"firn -q versions r":                                "firn -q versions r",
		"firn versions r --json":                            "firn versions --json r",
		"firn versions r -q":                                "firn -q versions r",
		"firn versions --quiet r -v":                        "firn --quiet -v versions r",
		"firn ls r v --log-format x d":                      "firn --log-format x ls r v d",
		"firn ls r --catalog c v -lR":                       "firn ls --catalog c -lR r v",
		"firn ls r --catalog=c v":                           "firn ls --catalog=c r v",
		"firn ls r v -- -q":                                 "firn ls -- r v -q",
		"firn -v upload files s --recipient a --name n":     "firn -v upload files --recipient a --name n s",
		"firn upload files s --log-format json --name n -q": "firn --log-format json -q upload files --name n s",
		"firn key show - --json":                            "firn key show --json -",
		"firn ls r --unknown v":                             "firn ls --unknown r v",
		"firn ls r v --catalog":                             "firn ls --catalog r v",
		"firn restore r v --to d --json":                    "firn restore --to d --json r v",
		"firn restore db r v --clean --to u -q":             "firn -q restore db --clean --to u r v",
		"firn restore --to d db":                            "firn restore --to d db",
		"firn nothing -q":                                   "firn -q nothing",
	} {
		if got := reorder(app, strings.Fields(line)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%q became %q, not %q", line, got, want)
		}
	}
}
