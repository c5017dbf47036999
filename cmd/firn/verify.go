package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/internal/signature"
	"github.com/chipster/firn/internal/verify"
)

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "check that an archive is what its lists say",
		ArgsUsage: "ROOT [STORAGE...]",
		Description: `Reads all sealed files of the archive ROOT, or those of some storages, and
compares them with the hashes in the lists of all versions. Nothing is changed,
unless with --repair. No key is needed; with one, each file is opened too, and the SHA-512 of what was
backed up is compared. An archiver may be at work meanwhile.

Each problem is told with the file, where it lies, which of its bytes are wrong,
and the versions that it is of. Kinds of problems: missing, truncated, longer,
changed, swapped (another listed file is in its place), extra (no list names
it), unreadable (the disk or the system refuses), and not-openable (no key fits,
or it is not what was backed up). The exit code is 3 where there is one, and 5
where all that is wrong is that no key given fits.

With --repair, what is damaged is set aside, in ROOT/.firn/damaged, and what is
missing or set aside is taken off the list of the newest version, in the bucket
too. So the next backup brings it again, for all versions that had that file.
What the storage does not have any more is lost: it is listed by version.

With --sample only some of the files are read, others each time. That each is
there and has its size is always checked. --rate leaves the disk to others:
all of 10 TB at 50 MiB/s takes more than two days.

With --shard, several machines verify together: each takes those files whose
paths' hashes fall to it, and reports what it found itself. What is wrong with
lists, and folders that are no versions, is told by the first. Repairing is for
one run of all.

Examples:
   firn verify /mnt/archive
   firn verify /mnt/archive --sample 5% --rate 50MiB
   firn verify /mnt/archive file-storage --key firn.private.base64
   firn verify /mnt/archive --shard 2/4
   firn verify /mnt/archive --repair --store s3://backup --s3-endpoint a3s.fi
   firn verify /mnt/archive --json | jq -r '.problems[] | [.kind, .path] | @tsv'`,
		Flags: append(append(append(keyFlags(), settingFlags(storeSettings)...),
			catalogFlag(), trustFlag(),
			&cli.BoolFlag{Name: "repair", Usage: "set damaged files aside, and have the next backup bring them again"},
			&cli.BoolFlag{Name: "dry-run", Usage: "with --repair: only say what would be done"},
			&cli.StringFlag{Name: "sample", Usage: "read `P%` of the files, chosen at random (default: all)"},
			&cli.StringFlag{Name: "rate", Usage: "read at most `SIZE` a second, such as 50MiB (default: as fast as it goes)"},
			shardFlag("read"),
			&cli.IntFlag{Name: "workers", Usage: "read `N` files at once (default: two a processor, at most 8)"},
		), reportFlags()...),
		Action: runVerify,
	}
}

func runVerify(c *cli.Context) error {
	args, err := arguments(c, "ROOT", "…")
	if err != nil {
		return err
	}
	if c.Bool("dry-run") && !c.Bool("repair") {
		return usagef("--dry-run is for --repair: without it nothing is changed")
	}
	o := verify.Options{Root: args[0], Storages: args[1:], Workers: c.Int("workers")}
	if o.Sample, err = parsePercent(c.String("sample")); err != nil {
		return err
	}
	if o.BytesPerSecond, err = parseRate(c.String("rate")); err != nil {
		return err
	}
	if o.Shard, err = shardOf(c); err != nil {
		return err
	}
	if c.Bool("repair") && !o.Shard.IsZero() {
		return usagef("--repair is for a run of all, without --shard: it changes the list of the newest version, once")
	}
	keys, passphrases, err := loadPrivateKeys(c)
	if err != nil {
		return err
	}
	if len(keys) > 0 || len(passphrases) > 0 {
		o.Opener = envelope.NewOpener(keys, passphrases...)
		defer o.Opener.Wipe()
	}
	rec, err := newRecorder(c)
	if err != nil {
		return err
	}
	defer rec.finish()
	begin := time.Now()
	v := &verified{}
	job := verifyJob
	if len(o.Storages) > 0 { // which says nothing of the rest
		job += " of " + strings.Join(o.Storages, ", ")
	}
	if !o.Shard.IsZero() {
		job += ", shard " + o.Shard.String()
	}
	err = rec.run(job, verifyJob, func(c *cli.Context, run *runs.Active) (err error) {
		if o.Catalog, err = openCatalog(c, o.Root); err != nil {
			return err
		}
		v.Report, err = verifyWithProgress(c, o, job, rec.store, run)
		return err
	})
	if o.Catalog != nil {
		defer o.Catalog.Close()
	}
	took := time.Since(begin)
	if v.Report == nil || v.Versions == 0 { // it did not come to look at anything
		return err
	}
	v.Finished = isVerdict(err)
	versions, listErr := o.Catalog.Versions(c.Context, "")
	v.Lost = lostByVersion(versions, v.Problems)
	var repairErr error
	if c.Bool("repair") && c.Context.Err() == nil {
		v.Repairs, repairErr = repair(c, o.Root, v.Problems)
	}
	return errors.Join(keyHint(err), listErr, repairErr, printVerify(c, o.Root, v, took))
}

// verifyJob is what a verification is called in records of runs, and as a role in
// the configuration.
const verifyJob = "verify"

// verifyWithProgress verifies, and tells the run of it. What was found before and is
// not known to be right again, as far as store has it, is read whatever the sample is.
func verifyWithProgress(c *cli.Context, o verify.Options, job string, store *runs.Store, run *runs.Active) (*verify.Report, error) {
	before, err := store.Runs(job, 0)
	if err != nil { // which is no reason not to verify
		logger(c).Warn("nobody can tell what was found before", "error", err)
	}
	o.Always = map[string]bool{}
	for _, r := range before { // those that came to no end may have found more
		for _, sealedPath := range r.Again {
			o.Always[sealedPath] = true
		}
		if r.Result.Done() {
			break
		}
	}
	var bar *progress
	o.Logger = logger(c)
	o.Planned = func(files int, bytes int64) { bar = newProgress(c, "verifying", bytes).ofRun(run, files) }
	o.Progress = func(files int, bytes int64) { bar.Add(files, bytes) }
	report, err := verify.Run(c.Context, o)
	if bar != nil {
		bar.Done()
	}
	countVerify(run, report)
	return report, err
}

func countVerify(run *runs.Active, r *verify.Report) {
	run.CountFiles("checked", r.Files)
	run.CountBytes("checked", r.Bytes)
	run.CountFiles("read", r.Read.Files)
	run.CountBytes("read", r.Read.Bytes)
	run.CountFiles("healed", r.Healed)
	for kind, n := range r.Kinds {
		run.CountFiles(string(kind), n)
	}
	for i := range r.Problems[:min(len(r.Problems), maxShown)] {
		p := &r.Problems[i]
		run.Problem(fmt.Sprintf("%s: %s/%s: %s", p.Kind, p.Folder, p.SealedPath, p.Detail))
	}
	for i := range r.Problems {
		if p := &r.Problems[i]; p.Entry != nil {
			run.Again(p.SealedPath)
		}
	}
	for _, l := range r.Lists {
		run.Problem(fmt.Sprintf("list of %s: %s", l.Version, l.Reason))
	}
}

// isVerdict tells what was found from what ended the run early.
func isVerdict(err error) bool {
	return err == nil || errors.Is(err, verify.ErrDamaged) || errors.Is(err, envelope.ErrKey) || errors.Is(err, signature.ErrUntrusted)
}

// parsePercent reads 5% or 5; nothing is 0.
func parsePercent(s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	p, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || math.IsNaN(p) || p <= 0 || p > 100 {
		return 0, usagef("--sample is %q, must be a percentage such as 5%%", s)
	}
	return p, nil
}

// parseRate reads bytes a second; nothing is 0.
func parseRate(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := parseBytes(strings.TrimSuffix(s, "/s"))
	if err == nil && n == 0 {
		err = usagef("--rate is %q, which reads nothing", s)
	}
	return n, err
}

// What a person is shown: problems, and ranges of each.
const (
	maxShown       = 100
	maxShownRanges = 10
)

func printVerify(c *cli.Context, root string, v *verified, took time.Duration) error {
	if c.Bool("json") {
		return printJSON(c, v)
	}
	r := v.Report
	out := newLines(c.App.Writer)
	for _, p := range r.Problems[:min(len(r.Problems), maxShown)] {
		printProblem(out, &p)
	}
	if more := r.Count - maxShown; more > 0 {
		fmt.Fprintf(out, "… and %d more problems; --json names up to 10,000\n", more)
	}
	for _, l := range r.Lists {
		fmt.Fprintf(out, "list of %s: %s\n", l.Version, printable(l.Reason))
	}
	for _, folder := range r.Unfinished {
		fmt.Fprintf(out, "%s has no list: it is on its way, or was left behind\n", folder)
	}
	printRepairs(out, v)
	if r.Shard != "" {
		fmt.Fprintf(out, "shard %s of ", r.Shard)
	}
	fmt.Fprintf(out, "%s: %d versions of %d storages, %d files, %s; read %d files, %s in %s", shown(root),
		r.Versions, r.Storages, r.Files, humanBytes(r.Bytes), r.Read.Files, humanBytes(r.Read.Bytes), humanDuration(took))
	if r.Healed > 0 {
		fmt.Fprintf(out, "; %d lost files of old versions are there as sealed again later", r.Healed)
	}
	if r.Misplaced > 0 {
		fmt.Fprintf(out, "; %d are in another folder than they should be, and found", r.Misplaced)
	}
	so := ""
	if !v.Finished {
		so = "not finished: "
	}
	fmt.Fprintf(out, "; %s%s\n", so, countProblems(r))
	return out.Flush()
}

func countProblems(r *verify.Report) string {
	if r.Count == 0 && len(r.Lists) == 0 {
		return "no problems"
	}
	text := fmt.Sprintf("%d problems", r.Count)
	var kinds []string
	for kind, n := range r.Kinds {
		kinds = append(kinds, fmt.Sprintf("%d %s", n, kind))
	}
	if slices.Sort(kinds); len(kinds) > 0 {
		text += " (" + strings.Join(kinds, ", ") + ")"
	}
	if len(r.Lists) > 0 {
		text += fmt.Sprintf(", %d lists that cannot be read", len(r.Lists))
	}
	return text
}

// printProblem prints a block of lines. Of a file that is extra there is nothing
// to tell but where it lies.
func printProblem(out lines, p *verify.Problem) {
	at := printable(p.Folder + "/" + p.SealedPath)
	if p.Path == "" {
		fmt.Fprintf(out, "%s: %s\n  why       %s\n", p.Kind, at, printable(p.Detail))
		return
	}
	fmt.Fprintf(out, "%s: %s of %s\n  sealed    %s\n  versions  %s", p.Kind, printable(p.Path), p.Storage, at, p.First)
	if p.Last != p.First {
		fmt.Fprintf(out, " … %s", p.Last)
	}
	if p.Newest {
		fmt.Fprint(out, ", the newest")
	}
	fmt.Fprintln(out)
	for _, r := range p.Ranges[:min(len(p.Ranges), maxShownRanges)] {
		fmt.Fprintf(out, "  bytes     %d to %d of %d\n", r.Offset, r.Offset+r.Length-1, p.Entry.SealedSize)
	}
	if more := len(p.Ranges) - maxShownRanges; more > 0 {
		fmt.Fprintf(out, "            and %d more ranges\n", more)
	}
	fmt.Fprintf(out, "  why       %s\n", printable(p.Detail))
}
