package drill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/manifest"
)

// versions are those to try, of all storages or of those that are named.
func (r *run) versions(ctx context.Context) ([]catalog.Version, error) {
	all, err := r.Catalog.Versions(ctx, "")
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: the archive has none; is its disk mounted?", catalog.ErrNoVersion)
	}
	var chosen []catalog.Version
	missing := slices.Clone(r.Storages)
	for len(all) > 0 {
		storage := all[0].Name.Storage()
		end := slices.IndexFunc(all, func(v catalog.Version) bool { return v.Name.Storage() != storage })
		if end < 0 {
			end = len(all)
		}
		if len(r.Storages) == 0 || slices.Contains(r.Storages, storage) {
			chosen = append(chosen, chooseVersions(all[:end])...)
		}
		missing = slices.DeleteFunc(missing, func(s string) bool { return s == storage })
		all = all[end:]
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%w: the archive has none of the storage %q", catalog.ErrNoVersion, missing[0])
	}
	return chosen, nil
}

// chooseVersions chooses of one storage's versions, oldest first: the newest that
// can be read, those after it, since that they cannot is a problem, and of files
// one older one. Older ones that nobody trusted has signed are from before there
// were signatures.
func chooseVersions(all []catalog.Version) (chosen []catalog.Version) {
	newest := len(all) - 1
	for newest > 0 && all[newest].Readable() != nil {
		chosen = append(chosen, all[newest])
		newest--
	}
	chosen = append(chosen, all[newest])
	older := slices.DeleteFunc(slices.Clone(all[:newest]), func(v catalog.Version) bool { return v.Untrusted })
	if len(older) > 0 && !all[newest].Name.IsDatabase() {
		chosen = append(chosen, older[rand.IntN(len(older))])
	}
	return chosen
}

// sample chooses of files that are seen one after the other, each with the same
// chance, however many there are.
type sample struct {
	most     int64 // bytes of a file that can be restored
	size     int   // of the sample
	seen     int64
	drawn    []manifest.Entry
	smallest *manifest.Entry
	largest  *manifest.Entry // of those that leave half of the room to others
}

func (s *sample) add(e manifest.Entry) {
	if s.smallest == nil || e.Size < s.smallest.Size {
		s.smallest = &e
	}
	if e.Size <= s.most/2 && (s.largest == nil || e.Size > s.largest.Size) {
		s.largest = &e
	}
	s.seen++
	at := s.seen - 1
	if at >= int64(s.size) {
		if at = rand.Int64N(s.seen); at >= int64(s.size) {
			return
		}
	}
	if e.Size > s.most {
		e.Details = manifest.Details{} // the blocks of terabytes are megabytes
	}
	if at == int64(len(s.drawn)) {
		s.drawn = append(s.drawn, e)
	} else {
		s.drawn[at] = e
	}
}

// fit chooses of the sample what there is room for: the smallest file, the
// largest, and others in random order.
func (s *sample) fit() (chosen, leftOut []manifest.Entry) {
	rand.Shuffle(len(s.drawn), func(i, j int) { s.drawn[i], s.drawn[j] = s.drawn[j], s.drawn[i] })
	candidates := s.drawn
	for _, first := range []*manifest.Entry{s.largest, s.smallest} {
		if first != nil {
			candidates = slices.DeleteFunc(candidates, func(e manifest.Entry) bool { return e.Path == first.Path })
			candidates = slices.Insert(candidates, 0, *first)
		}
	}
	left := s.most
	for _, e := range candidates {
		if onDisk(e.Size) > left {
			leftOut = append(leftOut, e)
			continue
		}
		left -= onDisk(e.Size)
		chosen = append(chosen, e)
	}
	return chosen, leftOut
}
