package catalog
import ("testing";"os";"fmt";"time";"errors";"crypto/sha512";"path/filepath";"runtime"
"github.com/chipster/firn/internal/manifest")
func TestZZ(t *testing.T) {
	a := newArchive(t)
	for day := range 2 {
	n := night(t, "s", day)
	must(t, os.MkdirAll(a.file(n, ""), 0o755))
	f, err := os.Create(a.file(n, manifest.ArchiveInfo))
	must(t, err)
	w := manifest.NewWriter(f)
	for i := range 1000000+day*1000 {
		h := sha512.Sum512(fmt.Append(nil,i))
		p := fmt.Sprintf("%x/%x", h[:1], h[:16])
		must(t, w.Write(&manifest.Entry{Path: p, SealedPath: p + ".lz4.gpg", Size: 1, SHA512: h, SealedSHA512: h, SealedSize: 2, Backup: n}))
	}
	must(t, errors.Join(w.Flush(), f.Close()))
	}
	fmt.Println("written")
	db := filepath.Join(t.TempDir(), "c.sqlite")
	s := time.Now()
	c, err := Open(t.Context(), a.root, Options{Path: db, Progress: nil})
	must(t, err)
	fmt.Println("open 3 nights", time.Since(s))
	i, _ := os.Stat(db); fmt.Println(i.Size()>>20, "MiB")
	c.Close()
	s = time.Now()
	c, _ = Open(t.Context(), a.root, Options{Path: db})
	fmt.Println("open again", time.Since(s))
	v, _ := c.Find(t.Context(), "s/latest")
	s = time.Now()
	k := 0
	for range c.Files(t.Context(), v, "") { k++ }
	fmt.Println("files", k, time.Since(s))
	s = time.Now()
	k = len(walkDirs(t, c, v, ""))
	fmt.Println("dirs", k, time.Since(s))
	s = time.Now()
	v0, _ := c.Find(t.Context(), night(t,"s",0).String())
	k = 0
	for range c.Diff(t.Context(), v0, v) { k++ }
	fmt.Println("diff", k, time.Since(s))
	s = time.Now()
	for i := range 10000 {
		h := sha512.Sum512(fmt.Append(nil,i*97))
		_, err := c.Lookup(t.Context(), v, fmt.Sprintf("%x/%x", h[:1], h[:16]))
		must(t, err)
	}
	fmt.Println("10000 lookups", time.Since(s))
	s = time.Now()
	c.Refresh(t.Context())
	fmt.Println("refresh", time.Since(s))
	for _, q := range []string{lookupSQL, listSQL, filesHere, filesBeyond, sealedSQL, listedSQL} {
		args := []any{}
		n := map[string]int{lookupSQL:3,listSQL:4,filesHere:7,filesBeyond:7,sealedSQL:6,listedSQL:6}[q]
		for range n { args = append(args, 1) }
		rows, err := c.db.read.Query("EXPLAIN QUERY PLAN "+q, args...)
		must(t, err)
		for rows.Next() { var a,b,d int; var x string; rows.Scan(&a,&b,&d,&x); fmt.Println("  ", x) }
		rows.Close(); fmt.Println("--")
	}
	var m runtime.MemStats; runtime.ReadMemStats(&m); fmt.Println(m.HeapSys>>20, "MiB heap")
	b, _ := os.ReadFile("/proc/self/status"); fmt.Println(string(b[400:900]))
}
