package uploader

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/chipster/firn/internal/extsort"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/signature"
)

// claims are what lists of packages in the bucket say that the unfinished backup
// holds already.
type claims struct {
	*run
	storage  *storage
	fresh    *fresh
	lines    *extsort.Sorter // records of the files' paths, their packages, and lines
	packages []claimed
	whose    string // the installation that a list names
}

// claimNumber is the length of what stands before the lines in their records: the
// number of the package.
const claimNumber = 4

// claimed is a package as one list tells of it.
type claimed struct {
	key, list string // its key, and the list's
	reason    string // why it is not used; "" as long as it is
}

// keep takes over the packages of the backup that this run goes on with, and
// returns what is left to be sealed. A package of which a file is not current
// any more is left, and all its other files are sealed again: the archiver takes
// no member that no list names.
func (r *run) keep(ctx context.Context, s *storage, all *fresh) (left *fresh, err error) {
	c := &claims{run: r, storage: s, fresh: all, lines: extsort.New(sortMemory)}
	defer c.lines.Close()
	if err := c.readLists(ctx); err != nil {
		return nil, err
	}
	if err := c.dropOld(ctx); err != nil {
		return nil, err
	}
	if err := c.dropDoubles(); err != nil {
		return nil, err
	}
	for _, p := range c.packages {
		if p.reason != "" {
			r.log.Info("a package of the unfinished backup is not used", "package", p.key, "reason", p.reason)
			continue
		}
		r.list.keys[p.key] = true
		r.list.keys[p.list] = true
	}
	return c.take(ctx)
}

// readLists reads what packages hold. Of a list that cannot be believed to its
// end nothing is used.
func (c *claims) readLists(ctx context.Context) error {
	there := c.resumed.packages()
	for _, key := range slices.Sorted(slices.Values(c.resumed.keys)) {
		if kindOf(key) != isList || strings.HasSuffix(key, signature.Suffix) || c.isOtherShards(key) {
			continue
		}
		from := len(c.packages)
		c.whose = ""
		err := c.readList(ctx, key)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			if err := c.checkInstallation(c.whose); err != nil {
				return err
			}
		case len(c.packages) == from:
			c.packages = append(c.packages, claimed{key: strings.TrimSuffix(key, packageListSuffix), list: key})
		}
		for i := range c.packages[from:] {
			if p := &c.packages[from+i]; err != nil {
				p.reason = err.Error()
			} else if _, ok := there[p.key]; !ok {
				p.reason = "it is gone"
			}
		}
	}
	return nil
}

// readList reads a list of one package or of several.
func (c *claims) readList(ctx context.Context, key string) error {
	return c.readVerified(ctx, key, func(list io.Reader) error { return c.readLines(key, list) })
}

// readVerified reads a list of this backup. Where lists are signed, it has to be:
// its lines are going to be. Only when it returns nil were they.
func (b *backup) readVerified(ctx context.Context, key string, read func(io.Reader) error) error {
	body, err := b.store.Get(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	if b.signer == nil {
		return read(body)
	}
	sig, err := b.read(ctx, key+signature.Suffix, signature.MaxSize)
	if err != nil {
		return err
	}
	// Verified as it is read: read again, it might be another one.
	copied, out := io.Pipe()
	var verifying errgroup.Group
	verifying.Go(func() error {
		_, err := b.signer.Trusted().Verify(key, copied, sig)
		copied.CloseWithError(err)
		return err
	})
	err = read(io.TeeReader(body, out))
	out.CloseWithError(err)
	return errors.Join(err, verifying.Wait())
}

func (c *claims) readLines(key string, list io.Reader) error {
	numbers := map[string]uint32{} // of the packages of this list
	var record, number []byte
	for e, err := range manifest.Read(list) {
		if err == nil && (e.Backup != c.name || e.Package == "") {
			err = fmt.Errorf("the list names another backup: %s", e.Backup)
		}
		if err != nil {
			return err
		}
		if e.Installation != "" {
			c.whose = e.Installation
		}
		n, known := numbers[e.Package]
		if !known {
			n = uint32(len(c.packages))
			numbers[e.Package] = n
			c.packages = append(c.packages, claimed{key: c.key(e.Package), list: key})
		}
		number = binary.BigEndian.AppendUint32(number[:0], n)
		if record, err = appendEntry(record[:0], &e, number); err == nil {
			err = c.lines.Add(record)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// all yields the claims of packages that are used, in the order of paths and
// packages.
func (c *claims) all(yield func([]byte, error) bool) {
	for record, err := range c.lines.All() {
		if err == nil {
			if p, _ := c.of(record); p.reason != "" {
				continue
			}
		}
		if !yield(record, err) {
			return
		}
	}
}

// of is the package of a claim, and its line.
func (c *claims) of(record []byte) (p *claimed, line []byte) {
	_, rest := cutRecord(record)
	return &c.packages[binary.BigEndian.Uint32(rest)], rest[claimNumber:]
}

// dropOld leaves the packages of which a file is not what it was.
func (c *claims) dropOld(ctx context.Context) error {
	fresh, stop := follow(c.fresh.All())
	defer stop()
	for record, err := range c.all {
		if err != nil {
			return err
		}
		path, _ := cutRecord(record)
		rest, current, err := fresh.find(path)
		p, line := c.of(record)
		if current && err == nil {
			current, err = c.isCurrent(ctx, parseFile(path, rest), line)
		}
		if err != nil {
			return err
		}
		if !current {
			p.reason = fmt.Sprintf("%q has changed since", path)
		}
	}
	return nil
}

func (c *claims) isCurrent(ctx context.Context, f file, line []byte) (bool, error) {
	e, err := manifest.ParseLine(string(line))
	if err != nil {
		return false, err
	}
	if !c.sameRecipients(&e) || e.SealedPath != manifest.SealedPath(f.path, c.recipients.Suffix()) {
		return false, ctx.Err()
	}
	return c.unchanged(ctx, c.storage, f, &e)
}

// dropDoubles leaves packages that hold a file which another one holds too, as
// can be after several runs that were stopped.
func (c *claims) dropDoubles() error {
	var last []byte // path
	var holder *claimed
	for record, err := range c.all {
		if err != nil {
			return err
		}
		path, _ := cutRecord(record)
		p, _ := c.of(record)
		if bytes.Equal(path, last) && p != holder {
			p.reason = fmt.Sprintf("%q is in %s as well", path, holder.key)
			continue
		}
		last, holder = append(last[:0], path...), p
	}
	return nil
}

// take lists what is taken over, and returns the rest.
func (c *claims) take(ctx context.Context) (left *fresh, err error) {
	left = newFresh()
	claimed, stop := follow(c.all)
	defer stop()
	for record, err := range c.fresh.All() {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = c.takeFile(record, claimed, left)
		}
		if err != nil {
			left.Close() // the error that counts is the one before
			return nil, err
		}
	}
	return left, nil
}

func (c *claims) takeFile(record []byte, claimed *cursor, left *fresh) error {
	path, rest := cutRecord(record)
	claim, found, err := claimed.find(path)
	if err != nil {
		return err
	}
	if !found {
		return left.add(record)
	}
	e, err := manifest.ParseLine(string(claim[claimNumber:]))
	if err != nil {
		return err
	}
	f := parseFile(path, rest)
	c.report.Resumed++
	c.report.ResumedSize += e.Size
	return c.run.take(&f, &e)
}

// packageName keeps the packages of a run that goes on with a backup, or makes a
// part of it, apart from those that are there, and from what other runs may still
// be sending: files' own names have no "_" in a package's.
func (b *backup) packageName(name string) string {
	if b.resumed == nil && b.shard.IsZero() {
		return name
	}
	tag := shardTag(b.shard)
	_, token, _ := strings.Cut(b.lease.key, "/"+leasePrefix+tag)
	return strings.TrimSuffix(name, ".tar") + "_" + tag + strings.ToLower(token[:6]) + ".tar"
}
