// Bench does for scripts/bench.sh what a shell cannot do well: it makes files
// that cannot be compressed, runs a program and tells its time and its memory,
// and reads from a file at random or side by side. It is no part of firn.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const usage = `usage:
  bench files DIR COUNT BYTES      make files of random bytes, as DIR/ab/abcd…
  bench run PROGRAM [ARGUMENT...]  print the seconds it took and its peak memory in MiB
  bench random FILE READS BYTES    print how many reads two minutes sufficed for, and p50, p99
                                   and the maximum in ms: of the first time, and of the same again
  bench readers FILE COUNT BYTES   read ranges of so many bytes side by side, print MB/s of all`

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(args []string) error {
	if len(args) >= 2 && args[0] == "run" {
		return run(args[1], args[2:]...)
	}
	commands := map[string]func(string, int, int64) error{"files": files, "random": random, "readers": readers}
	if len(args) != 4 || commands[args[0]] == nil {
		return errors.New(usage)
	}
	count, err := strconv.Atoi(args[2])
	size, err2 := strconv.ParseInt(args[3], 10, 64)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if count < 1 || size < 1 {
		return fmt.Errorf("%s: COUNT, READS and BYTES must be at least 1", args[0])
	}
	return commands[args[0]](args[1], count, size)
}

// files makes the same files each time, with names like those of a storage.
func files(dir string, count int, size int64) error {
	random := rand.NewChaCha8([32]byte{'b', 'e', 'n', 'c', 'h'})
	for range count {
		var id [16]byte
		random.Read(id[:])
		path := filepath.Join(dir, fmt.Sprintf("%02x", id[:1]), fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		// io.CopyN's own buffer is too small for gigabytes.
		_, err = io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(random, size), make([]byte, min(size, 1<<20)))
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// run throws the program's standard output away.
func run(program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %q: %w", program, args, err)
	}
	took := time.Since(start)
	kib := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	_, err := fmt.Printf("%.6f %d\n", took.Seconds(), kib>>10)
	return err
}

// randomLimit ends the first round of reads, which could take hours.
const randomLimit = 2 * time.Minute

// random reads at the same offsets each time, which are of no alignment.
func random(name string, reads int, size int64) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < size {
		return fmt.Errorf("%s has only %d bytes", name, info.Size())
	}
	ctx, cancel := context.WithTimeout(context.Background(), randomLimit)
	defer cancel()
	first, err := readRandom(ctx, f, reads, size, info.Size())
	if err != nil {
		return err
	}
	again, err := readRandom(context.Background(), f, len(first), size, info.Size())
	if err != nil {
		return err
	}
	_, err = fmt.Println(len(first), summary(first), summary(again))
	return err
}

// readRandom returns how long the reads took that were over in time, sorted;
// there is at least one.
func readRandom(ctx context.Context, f io.ReaderAt, reads int, size, total int64) ([]time.Duration, error) {
	offsets := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, size)
	var took []time.Duration
	for len(took) < reads && (len(took) == 0 || ctx.Err() == nil) {
		offset := offsets.Int64N(total - size + 1)
		start := time.Now()
		if _, err := f.ReadAt(b, offset); err != nil {
			return nil, fmt.Errorf("at %d: %w", offset, err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took, nil
}

func summary(sorted []time.Duration) string {
	return fmt.Sprintf("%.3f %.3f %.3f", ms(percentile(sorted, 50)), ms(percentile(sorted, 99)), ms(sorted[len(sorted)-1]))
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// percentile is the smallest of the sorted values that p percent do not exceed.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[(len(sorted)*p+99)/100-1]
}

// readers spreads ranges of size bytes evenly over the file, each with a reader
// of its own, who reads as cp does: in order, a quarter of a MiB at a time.
func readers(name string, count int, size int64) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	size = min(size, info.Size()/int64(count))
	errs := make([]error, count)
	var group sync.WaitGroup
	start := time.Now()
	for i := range count {
		group.Go(func() { errs[i] = readRange(name, info.Size()/int64(count)*int64(i), size) })
	}
	group.Wait()
	took := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err = fmt.Printf("%.0f\n", float64(size)*float64(count)/1e6/took.Seconds())
	return err
}

func readRange(name string, offset, size int64) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 256<<10)
	for end := offset + size; offset < end; {
		n, err := f.ReadAt(b[:min(int64(len(b)), end-offset)], offset)
		if err != nil {
			return fmt.Errorf("%s at %d: %w", name, offset, err)
		}
		offset += int64(n)
	}
	return nil
}
