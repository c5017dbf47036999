package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/chipster/firn/internal/objstore"
)

// story is what the pages assume to be there, and what befalls it.
type story struct {
	*rig
	files map[string]file // of the storage, as they were last
}

func newStory(r *rig) *story {
	r.Helper()
	s := &story{rig: r}
	s.write("ab/abcdef", strings.Repeat("plain text\n", 1000))
	s.write("ab/ab0123", "another")
	s.write("cd/cdef01", strings.Repeat("0123456789abcdef", 200_000))
	s.write("cd/empty", "")
	s.write("ef/ef0123", "yes")
	s.write("top.txt", "at the top")
	s.postgres(`CREATE ROLE chipster LOGIN PASSWORD 'the password'`, `CREATE DATABASE auth OWNER chipster`, `CREATE DATABASE session_db OWNER chipster`)
	for _, database := range []string{"auth", "session_db"} {
		s.sql(database, `SET ROLE chipster`, `CREATE TABLE users (id int PRIMARY KEY, name text)`, `INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 500) n`)
	}
	for from, to := range map[string]string{"server.crt": "page.crt", "server.key": "page.key"} {
		s.copy(filepath.Join(s.dir, from), s.path("archive", "etc/firn/"+to))
	}
	return s
}

// write puts a file into the storage.
func (s *story) write(path, content string) {
	s.Helper()
	name := s.path("storage", "opt/storage/"+path)
	must(s, os.MkdirAll(filepath.Dir(name), 0o755))
	must(s, os.WriteFile(name, []byte(content), 0o644))
}

func (s *story) copy(from, to string) {
	s.Helper()
	data, err := os.ReadFile(from)
	must(s, err)
	must(s, os.MkdirAll(filepath.Dir(to), 0o755))
	must(s, os.WriteFile(to, data, 0o644))
}

// postgres runs SQL in the server's own database, each statement by itself.
func (s *story) postgres(sql ...string) { s.Helper(); s.sql("postgres", sql...) }

// sql runs statements as the superuser, and returns what they print.
func (s *story) sql(database string, statements ...string) string {
	s.Helper()
	command := "runuser -u postgres -- psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --dbname " + database
	for _, statement := range statements {
		command += ` -c "` + statement + `"`
	}
	return s.must("new", "cd / && "+command)
}

// night is a backup and an archiving as the manual has set them up.
func (s *story) night() {
	s.Helper()
	s.must("storage", "runuser -u firn -- firn upload all --config /etc/firn/firn.yaml")
	s.must("archive", "runuser -u firn -- firn archive /mnt/archive --config /etc/firn/firn.yaml")
}

// happens is what befalls the hosts before a chapter of the manual begins.
var happens = map[string]func(*story){
	"Monitoring":                              (*story).awaitRuns,
	"Getting one file back":                   (*story).loseFile,
	"Getting everything back on a new server": (*story).burn,
	"Both are gone":                           (*story).copyBucket,
	"A database back":                         (*story).moveIn,
	"Restoring without firn":                  (*story).checkDatabases,
	"When there is damage":                    (*story).rot,
	"Changing keys":                           (*story).checkRepaired,
	"Moving from the original":                (*story).original,
	"Everyday use":                            (*story).configured, // of the README
}

// awaitRuns waits for what the service was told to do.
func (s *story) awaitRuns() {
	s.Helper()
	s.await("the end of the runs", func() bool {
		return s.must("storage", `/root/admin GET state | jq '[.jobs[] | .running != null or .queued] | any'`) == "false"
	})
}

func (s *story) loseFile() {
	s.Helper()
	must(s, os.Remove(s.path("storage", "opt/storage/ab/abcdef")))
	s.night()
}

// burn takes the storage's host away, its databases too.
func (s *story) burn() {
	s.Helper()
	if got := s.read("desk", "root/abcdef"); got != s.read("desk", "srv/found/ab/abcdef") || !strings.HasPrefix(got, "plain text\n") {
		s.Errorf("the file that was lost is back as %d other bytes", len(got))
	}
	s.files = tree(s, s.path("storage", "opt/storage"))
	s.endServices()
	s.postgres("DROP DATABASE auth", "DROP DATABASE session_db", "DROP ROLE chipster")
	must(s, os.RemoveAll(s.path("storage", "opt/storage")))
}

// copyBucket gives the new server a copy of the bucket, which the S3 server keeps
// as files.
func (s *story) copyBucket() {
	s.Helper()
	must(s, os.CopyFS(s.path("new", "srv/bucket"), os.DirFS(filepath.Join(s.dir, "buckets/backup"))))
}

// moveIn makes the new server the storage's host, as step 7 of the manual says.
func (s *story) moveIn() {
	s.Helper()
	sameTree(s, "on the new server", tree(s, s.path("new", "opt/storage")), s.files, 0o777)
	s.checkDatabases()
	old := s.hosts["storage"]
	s.hosts["storage"] = s.hosts["new"]
	for _, names := range [][2]string{{"storage", "burnt"}, {"new", "storage"}} {
		must(s, os.Rename(filepath.Join(s.dir, "hosts", names[0]), filepath.Join(s.dir, "hosts", names[1])))
	}
	old.root, s.hosts["storage"].root = filepath.Join(s.dir, "hosts/burnt"), filepath.Join(s.dir, "hosts/storage")
	s.must("storage", "useradd --system --user-group --home-dir /var/lib/firn --no-create-home --shell /usr/sbin/nologin firn\n"+
		"cp -a "+old.root+"/etc/firn /etc/\nchgrp -R firn /etc/firn")
	printed, err := s.shell("storage", "runuser -u firn -- firn --quiet upload files --config /etc/firn/firn.yaml")
	_, id, told := strings.Cut(printed, "say --installation ")
	id, _, _ = strings.Cut(id, " ")
	if err == nil || !told {
		s.Fatalf("the new disk is not told from the old one: %v\n%s", err, printed)
	}
	s.must("storage", "echo 'backup-installation-file-storage: "+id+"' >> /etc/firn/firn.yaml")
	var report struct{ Files, New int }
	out := s.must("storage", "runuser -u firn -- firn --quiet upload files --config /etc/firn/firn.yaml --json")
	must(s, json.Unmarshal([]byte(out), &report))
	if report.New != 0 || report.Files != len(s.files) {
		s.Errorf("the first backup from the new server sends what is archived: %s", out)
	}
	s.must("archive", "runuser -u firn -- firn archive /mnt/archive --config /etc/firn/firn.yaml")
	s.sql("auth", "DELETE FROM users")
}

// endServices ends what the pages start in the background.
func (s *story) endServices() {
	s.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(s, err)
	for _, name := range processes {
		text, _ := os.ReadFile(name) // it may have ended
		words := strings.Split(string(text), "\x00")
		if len(words) < 2 || words[0] != "firn" || words[1] != "serve" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		must(s, err)
		must(s, syscall.Kill(pid, syscall.SIGTERM))
	}
}

func (s *story) read(host, name string) string {
	s.Helper()
	data, err := os.ReadFile(s.path(host, name))
	must(s, err)
	return string(data)
}

// checkDatabases demands all rows in both.
func (s *story) checkDatabases() {
	s.Helper()
	for _, database := range []string{"auth", "session_db"} {
		if rows := s.sql(database, "SELECT count(*) FROM users WHERE name = 'user ' || id"); rows != "500" {
			s.Errorf("%s has %s rows", database, rows)
		}
	}
}

// rot damages the sealed file of cd/cdef01, and has what was restored by hand
// compared first.
func (s *story) rot() {
	s.Helper()
	sameTree(s, "restored by hand", tree(s, s.path("desk", "srv/by-hand")), s.files, 0o777)
	if !strings.Contains(s.read("desk", "srv/auth.sql"), "PostgreSQL database dump complete") {
		s.Error("the dump that was restored by hand has no end")
	}
	found, err := filepath.Glob(s.path("archive", "mnt/archive/*/cd/cdef01.lz4.gpg"))
	must(s, err)
	if len(found) != 1 {
		s.Fatalf("%q", found)
	}
	data, err := os.ReadFile(found[0])
	must(s, err)
	data[len(data)/2] ^= 1
	must(s, os.WriteFile(found[0], data, 0o640))
}

// checkRepaired demands that the oldest version is whole again.
func (s *story) checkRepaired() {
	s.Helper()
	s.must("desk", `firn restore /mnt/archive "$(firn versions /mnt/archive file-storage --json | jq -r '.[0].name')" --to /srv/repaired --key firn.private.base64`)
	want := tree(s, s.path("desk", "srv/found"))
	got := tree(s, s.path("desk", "srv/repaired"))
	for path := range got {
		if _, also := want[path]; !also {
			delete(got, path)
		}
	}
	sameTree(s, "after the repair", got, want, 0o777)
}

// original puts the original's archive, bucket, configuration and storage beside
// those of the story.
func (s *story) original() {
	s.Helper()
	rsa := filepath.Join(original, "rsa")
	s.makeBucket("chipster")
	store, err := objstore.OpenS3(s.Context(), rigBucket("chipster"))
	must(s, err)
	w := &world{TB: s.TB, store: store}
	w.fillBucket(filepath.Join(rsa, "bucket"))
	archive := s.path("archive", "mnt/chipster-archive")
	must(s, os.CopyFS(archive, os.DirFS(filepath.Join(rsa, "archive"))))
	s.must("archive", "chown -R firn: /mnt/chipster-archive")
	s.copy(filepath.Join(original, "keys/chipster.private.base64"), s.path("desk", "root/chipster.private.base64"))

	public, err := os.ReadFile(filepath.Join(original, "keys/chipster.public.asc"))
	must(s, err)
	settings := "backup-bucket: chipster\nbackup-s3-endpoint: s3.example.org\nbackup-s3-access-key: %s\nbackup-s3-secret-key: %[1]s-secret-key\n" +
		"backup-gpg-public-key: |\n  " + strings.ReplaceAll(strings.TrimSpace(string(public)), "\n", "\n  ") + "\n"
	for host, account := range map[string]string{"storage": rigUploader, "archive": rigArchiver} {
		name := s.path(host, "opt/chipster/conf/chipster.yaml")
		must(s, os.MkdirAll(filepath.Dir(name), 0o755))
		must(s, os.WriteFile(name, fmt.Appendf(nil, settings, account), 0o644))
	}
	// The storage as it was in the night that waits in the bucket: restored by hand.
	s.must("desk", "mkdir /srv/copy")
	must(s, os.CopyFS(s.path("desk", "srv/copy/archive"), os.DirFS(filepath.Join(rsa, "archive"))))
	must(s, os.CopyFS(s.path("desk", "srv/copy/bucket"), os.DirFS(filepath.Join(rsa, "bucket"))))
	s.must("desk", "firn archive /srv/copy/archive --store file:///srv/copy/bucket --quiet\n"+
		"firn restore /srv/copy/archive file-storage/latest --to /srv/copy/storage --key chipster.private.base64 --catalog /srv/copy/catalog")
	must(s, os.CopyFS(s.path("storage", "opt/chipster/storage"), os.DirFS(s.path("desk", "srv/copy/storage"))))
}

// checkOperating looks at what the last chapters promise.
func (s *story) checkOperating() {
	s.Helper()
	s.checkDatabases()
	sameTree(s, "restored from a signed version", tree(s, s.path("desk", "srv/trusted")), s.files, 0o777)
	for _, key := range []string{"firn", "second"} { // each opens what is new
		s.must("desk", "firn restore /mnt/archive file-storage/latest --to /srv/with-"+key+" --key "+key+".private.base64")
		sameTree(s, "restored with the key "+key, tree(s, s.path("desk", "srv/with-"+key)), s.files, 0o777)
	}
	s.must("archive", "runuser -u firn -- firn archive /mnt/chipster-archive --config /opt/chipster/conf/chipster.yaml")
	s.must("desk", "firn restore /mnt/chipster-archive file-storage/latest --to /srv/moved --key chipster.private.base64")
	sameTree(s, "moved from the original", tree(s, s.path("desk", "srv/moved")), tree(s, s.path("storage", "opt/chipster/storage")), 0o777)
	for _, name := range []string{"firn.private.base64", "second.private.base64"} {
		for _, folder := range []string{"burnt", "storage", "archive"} {
			if left, _ := filepath.Glob(filepath.Join(s.dir, "hosts", folder, "*", name)); left != nil {
				s.Errorf("the private key was left in %q", left)
			}
		}
	}
}

// configured is what the README takes for granted.
func (s *story) configured() {
	s.Helper()
	s.sql("postgres", "CREATE DATABASE auth_restored OWNER chipster")
	for _, folder := range []string{"storage/etc/firn", "storage/opt/chipster/conf", "archive/etc/firn", "desk/mnt/versions"} {
		must(s, os.MkdirAll(filepath.Join(s.dir, "hosts", folder), 0o755))
	}
	for name, text := range map[string]string{
		"storage/etc/firn/secret": "firn-uploader-secret-key\n", "archive/etc/firn/secret": "firn-archiver-secret-key\n", "desk/root/db-pass": "the password\n",
		"storage/opt/chipster/conf/chipster.yaml": "backup-bucket: backup\nbackup-s3-endpoint: s3.example.org\nbackup-s3-access-key: firn-uploader\n" +
			"backup-s3-secret-key-file: /etc/firn/secret\ndb-url-auth: jdbc:postgresql://db.example.org:5432/auth\ndb-user: chipster\ndb-pass-auth: the password\n" +
			"file-storage-id: file-storage\n",
	} {
		must(s, os.WriteFile(filepath.Join(s.dir, "hosts", name), []byte(text), 0o600))
	}
}

func (s *story) checkReadme() {
	s.Helper()
	files := tree(s, s.path("storage", "opt/storage"))
	restored := tree(s, s.path("desk", "srv/restored"))
	for path := range files {
		if !strings.HasPrefix(path, "ab/") {
			delete(files, path)
		}
	}
	sameTree(s, "as the README says", restored, files, 0o777)
	if s.read("desk", "root/abcdef") != s.read("storage", "opt/storage/ab/abcdef") {
		s.Error("the file copied out of the mount is another one")
	}
	if rows := s.sql("auth_restored", "SELECT count(*) FROM users WHERE name = 'user ' || id"); rows != "500" {
		s.Errorf("the restored database has %s rows", rows)
	}
	s.await("the page", func() bool {
		page, err := s.shell("storage", "curl --silent http://localhost:8370/")
		return err == nil && strings.Contains(page, "<html")
	})
}
