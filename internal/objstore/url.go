package objstore

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
)

// URL says where a store is. It holds no credentials.
type URL struct {
	Scheme string // "s3" or "file"
	Bucket string // of s3
	Prefix string // of s3: without slashes at its ends, may be empty
	Path   string // of file: absolute and clean
}

// String is the URL that ParseURL reads back.
func (u URL) String() string {
	if u.Scheme == "file" {
		return (&url.URL{Scheme: "file", Path: u.Path}).String()
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Bucket, Path: u.Prefix}).String()
}

// ParseURL reads s3://bucket, s3://bucket/prefix and file:///folder, with
// percent escapes as in any URL. Its errors name s, unless s may hold a
// password.
func ParseURL(s string) (URL, error) {
	scheme, _, found := strings.Cut(s, ":")
	if !found || (scheme != "s3" && scheme != "file") {
		return URL{}, fmt.Errorf("%s: not a store: write s3://bucket/prefix or file:///folder", redacted(s))
	}
	u, err := url.Parse(s)
	if err != nil {
		// Its own text repeats the URL, and with it a password.
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return URL{}, fmt.Errorf("%s: %w", redacted(s), err)
	}
	switch {
	case u.User != nil:
		return URL{}, fmt.Errorf("%s: credentials do not belong into a URL: give them as options", redacted(s))
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(s, "#"):
		return URL{}, fmt.Errorf("%s: write ? as %%3F and # as %%23", redacted(s))
	case scheme == "file":
		return parseFile(s, u)
	}
	return parseS3(s, u)
}

func parseFile(s string, u *url.URL) (URL, error) {
	if u.Host != "" || u.Opaque != "" || !strings.HasPrefix(u.Path, "/") {
		return URL{}, fmt.Errorf("%s: not an absolute path: write file:///folder, with three slashes", redacted(s))
	}
	if strings.ContainsRune(u.Path, 0) {
		return URL{}, fmt.Errorf("%s: a path holds no zero byte", s)
	}
	return URL{Scheme: "file", Path: path.Clean(u.Path)}, nil
}

func parseS3(s string, u *url.URL) (URL, error) {
	if u.Opaque != "" || u.Host == "" {
		return URL{}, fmt.Errorf("%s: no bucket: write s3://bucket/prefix", redacted(s))
	}
	for _, c := range u.Host {
		if !isBucketChar(c) {
			return URL{}, fmt.Errorf("%s: %q is not the name of a bucket", s, u.Host)
		}
	}
	return URL{Scheme: "s3", Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}, nil
}

// isBucketChar allows what Ceph does (capitals, underscores), not just Amazon.
func isBucketChar(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-_.", c)
}

// redacted is s for a message, or a stand-in where an @ hints at a password.
func redacted(s string) string {
	if strings.Contains(s, "@") {
		return "the store's URL"
	}
	return s
}
