package objstore_test

import (
	"strings"
	"testing"

	"github.com/chipster/firn/internal/objstore"
)

var goodURLs = map[string]objstore.URL{
	"s3://bucket":               {Scheme: "s3", Bucket: "bucket"},
	"s3://bucket/":              {Scheme: "s3", Bucket: "bucket"},
	"s3://My_Bucket.1/a/b/":     {Scheme: "s3", Bucket: "My_Bucket.1", Prefix: "a/b"},
	"s3://bucket/with space":    {Scheme: "s3", Bucket: "bucket", Prefix: "with space"},
	"s3://bucket/100%25%3F%23":  {Scheme: "s3", Bucket: "bucket", Prefix: "100%?#"},
	"file:///":                  {Scheme: "file", Path: "/"},
	"file:///var/archive/":      {Scheme: "file", Path: "/var/archive"},
	"file:///var//x/../archive": {Scheme: "file", Path: "/var/archive"},
	"file:/var/archive":         {Scheme: "file", Path: "/var/archive"},
	"file:///a%20b/ä":           {Scheme: "file", Path: "/a b/ä"},
}

var badURLs = map[string]string{
	"":                            "s3://bucket/prefix or file:///folder",
	"/var/archive":                "s3://bucket/prefix or file:///folder",
	"https://a3s.fi/bucket":       "s3://bucket/prefix or file:///folder",
	"S3://bucket":                 "s3://bucket/prefix or file:///folder",
	"file://var/archive":          "file:///folder, with three slashes",
	"file://./archive":            "file:///folder, with three slashes",
	"file:archive":                "file:///folder, with three slashes",
	"file://":                     "file:///folder, with three slashes",
	"file:///a?b":                 "%3F",
	"file:///a#b":                 "%23",
	"s3://bucket/x?y=z":           "%3F",
	"s3://bucket#":                "%23",
	"s3://":                       "no bucket",
	"s3:///prefix":                "no bucket",
	"s3:bucket":                   "no bucket",
	"s3://bucket:443/x":           "not the name of a bucket",
	"s3://bu cket":                "invalid",
	"s3://b/%zz":                  "invalid URL escape",
	"file:///a%00b":               "zero byte",
	"s3://key:topsecret@bucket/x": "credentials",
	"s3://key:topsecret%zz@b":     "the store's URL",
}

func TestParseURL(t *testing.T) {
	for s, want := range goodURLs {
		if got, err := objstore.ParseURL(s); err != nil || got != want {
			t.Errorf("ParseURL(%q) = %+v, %v; want %+v", s, got, err, want)
		}
	}
	for s, want := range badURLs {
		_, err := objstore.ParseURL(s)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("ParseURL(%q): error %v; want one with %q", s, err, want)
		}
	}
}

// FuzzParseURL: what is read can be written and read again.
func FuzzParseURL(f *testing.F) {
	if len(goodURLs) == 0 || len(badURLs) == 0 {
		f.Fatal("no seeds")
	}
	for s := range goodURLs {
		f.Add(s)
	}
	for s := range badURLs {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := objstore.ParseURL(s)
		if err != nil {
			return
		}
		if again, err := objstore.ParseURL(u.String()); err != nil || again != u {
			t.Errorf("%q is %+v, as %q it is %+v, %v", s, u, u.String(), again, err)
		}
	})
}
