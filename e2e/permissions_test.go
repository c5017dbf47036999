package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/objstore/objstoretest"
)

// accounts are a bucket on a server with accounts, and who uses it.
type accounts struct {
	*nights
	root, uploader, archiver objstore.S3Options
}

// statement is one of a bucket's policy.
type statement struct {
	Sid, Effect string
	Principal   struct{ AWS []string }
	Action      texts
	Resource    texts
}

// texts is one or several in JSON.
type texts []string

func (l *texts) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*l = texts{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(l))
}

func newAccounts(t *testing.T) *accounts {
	t.Helper()
	w := newWorld(t)
	withNewKey(w)
	a := &accounts{root: objstoretest.Gateway{Accounts: true}.Start(t)}
	a.root.Bucket = "backup"
	_, err := objstoretest.Client(t, a.root).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &a.root.Bucket})
	must(t, err)
	a.uploader = objstoretest.AddAccount(t, a.root, "firn-uploader")
	a.archiver = objstoretest.AddAccount(t, a.root, "firn-archiver")
	w.store, err = objstore.OpenS3(t.Context(), a.root)
	must(t, err)
	a.nights = &nights{world: w, site: newSite(t, w.storage)}
	a.site.fill(20, 1)
	a.site.add(a.site.content(40 << 20)) // an upload in parts
	a.allow("")
	return a
}

// allow gives both accounts what testdata/policies say, but for one action of
// one of them: "archiver s3:PutObject".
func (a *accounts) allow(but string) {
	a.Helper()
	type policy struct {
		Version   string
		Statement []statement
	}
	all := policy{Version: "2012-10-17"}
	names := strings.NewReplacer("BUCKET", a.root.Bucket, "UPLOADER", a.uploader.AccessKey, "ARCHIVER", a.archiver.AccessKey)
	for _, who := range []string{"uploader", "archiver"} {
		text, err := os.ReadFile("testdata/policies/" + who + ".json")
		must(a, err)
		var p policy
		must(a, json.Unmarshal([]byte(names.Replace(string(text))), &p))
		for _, s := range p.Statement {
			s.Action = slices.DeleteFunc(s.Action, func(action string) bool { return but == who+" "+action })
			if len(s.Action) > 0 {
				all.Statement = append(all.Statement, s)
			}
		}
	}
	text, err := json.Marshal(all)
	must(a, err)
	_, err = objstoretest.Client(a, a.root).PutBucketPolicy(a.Context(), &s3.PutBucketPolicyInput{Bucket: &a.root.Bucket, Policy: aws.String(string(text))})
	must(a, err)
}

// as makes an account the one that the program uses from now on.
func (a *accounts) as(o objstore.S3Options) {
	a.env = append(a.env, bucketSettings(o)...)
}

func (a *accounts) night() {
	a.Helper()
	a.as(a.uploader)
	a.backUp()
	a.as(a.archiver)
	a.archiveAll()
}

func (a *accounts) checkVersions() {
	a.Helper()
	for _, v := range a.all {
		sameTree(a, v.backup, tree(a, a.restore(v.backup)), v.files, 0o777)
	}
	if left := objstoretest.Uploads(a, a.root); len(left) > 0 {
		a.Errorf("unfinished uploads: %q", left)
	}
}

// TestLeastPrivilege makes nights with accounts that may do only what their part
// needs. Restoring is after the bucket is out of the way.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	a := newAccounts(t)
	for range 3 {
		a.night()
		a.site.day()
	}
	a.as(objstore.S3Options{})
	a.checkVersions()

	// And nothing else: who takes over one host cannot undo the other's work.
	open := func(o objstore.S3Options) objstore.Store {
		o.Bucket = a.root.Bucket
		s, err := objstore.OpenS3(t.Context(), o)
		must(t, err)
		return s
	}
	uploader, archiver := open(a.uploader), open(a.archiver)
	a.as(a.uploader)
	a.site.add([]byte("new"))
	name := a.upload()
	list, pkg := name+"/backup-info", a.objects(name, ".tar")[0]
	get := func(s objstore.Store, key string) error {
		r, err := s.Get(t.Context(), key, 0, -1)
		if err == nil {
			r.Close()
		}
		return err
	}
	for what, c := range map[string]struct {
		err error
		ok  bool
	}{
		"the uploader deletes a list":          {uploader.Delete(t.Context(), list), false},
		"the uploader deletes a package":       {uploader.Delete(t.Context(), pkg), false},
		"the uploader reads a package":         {get(uploader, pkg), false},
		"the uploader reads a list":            {get(uploader, list), true},
		"the archiver reads a package":         {get(archiver, pkg), true},
		"the archiver writes a package":        {archiver.Put(t.Context(), name+"/x.tar", nil), false},
		"the archiver writes a backup's list":  {archiver.Put(t.Context(), list, nil), false},
		"the archiver writes an archived list": {archiver.Put(t.Context(), "x/archive-info", nil), true},
	} {
		if c.ok != (c.err == nil) || !c.ok && !errors.Is(c.err, objstore.ErrDenied) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
}

// TestMissingPermission takes one permission away at a time: the message says
// which, and once it is there again all goes on.
func TestMissingPermission(t *testing.T) {
	t.Parallel()
	a := newAccounts(t)
	a.night()
	a.site.day()
	upload := slices.Concat([]string{"upload", "files", a.storage, "--name", "file-storage"}, a.seal)
	archive := []string{"archive", a.archive}
	refused := func(who, action, may string, args []string) {
		t.Helper()
		a.as(map[string]objstore.S3Options{"uploader": a.uploader, "archiver": a.archiver}[who])
		a.allow(who + " " + action)
		_, stderr, code := a.run(nil, firn, args...)
		if code != 5 || !strings.Contains(stderr, may+": ask for "+action) {
			t.Errorf("%s without %s: exit code %d\n%s", who, action, code, stderr)
		}
		a.allow("")
	}
	refused("uploader", "s3:ListBucket", "may not list the bucket", upload)
	refused("uploader", "s3:GetObject", "may not read it", upload)
	refused("uploader", "s3:PutObject", "may not write it", upload)
	if lists := a.objects("", "/backup-info"); len(lists) != 1 {
		t.Errorf("after uploads that failed: %q", lists)
	}
	a.as(a.uploader)
	a.backUp()
	refused("archiver", "s3:ListBucket", "may not list the bucket", archive)
	refused("archiver", "s3:GetObject", "may not read it", archive)
	refused("archiver", "s3:PutObject", "may not write it", archive)
	if lists := a.objects("", "/archive-info"); len(lists) != 1 {
		t.Errorf("after archivings that failed: %q", lists)
	}
	refused("archiver", "s3:DeleteObject", "may not delete it", archive)
	a.checkVersions() // all is archived but the bucket not clean
	a.as(a.archiver)
	a.firn(archive...)
	newest := a.all[len(a.all)-1].backup
	for _, key := range a.objects("", "") {
		// An upload that failed could not even delete its lease: the archiver
		// does, some days later.
		if filepath.Dir(key) != newest && !strings.Contains(key, "/lease-") {
			t.Errorf("%s is still in the bucket", key)
		}
	}
}
