package metrics

import (
	"time"

	"github.com/chipster/firn/fs"
)

// The metrics of a mount. All have the mountpoint, since a host may have several
// mounts.
var (
	mountActive    = newDesc("mount_active", "1 while the mount is there, 0 when it was taken down.", mountpoint)
	mountWritten   = newDesc("mount_written_timestamp_seconds", "When these numbers were written, in Unix time; twice a minute while the mount is there.", mountpoint)
	mountOpens     = newDesc("mount_opens_total", "Files that were opened.", mountpoint)
	mountReads     = newDesc("mount_reads_total", "Reads that were asked for.", mountpoint)
	mountBytes     = newDesc("mount_read_bytes_total", "Bytes of plain data that readers got.", mountpoint)
	mountHits      = newDesc("mount_cache_hits_total", "Blocks that were in the cache when a reader wanted them.", mountpoint)
	mountMisses    = newDesc("mount_cache_misses_total", "Blocks that a reader had to wait for.", mountpoint)
	mountAhead     = newDesc("mount_read_ahead_blocks_total", "Blocks that were fetched before a reader wanted them.", mountpoint)
	mountAheadUsed = newDesc("mount_read_ahead_used_blocks_total", "Blocks fetched ahead that a reader wanted then.", mountpoint)
	mountKeys      = newDesc("mount_keys_ahead_total", "Keys of files that were opened before a reader wanted them.", mountpoint)
	mountFetched   = newDesc("mount_fetched_bytes_total", "Bytes of sealed files that were read from the archive.", mountpoint)
	mountEvicted   = newDesc("mount_cache_evicted_blocks_total", "Blocks that had to leave the cache.", mountpoint)
	mountCache     = newDesc("mount_cache_bytes", "Bytes in the cache.", mountpoint)
	mountLimit     = newDesc("mount_cache_limit_bytes", "Bytes that the cache may take.", mountpoint)
	mountOpen      = newDesc("mount_open_files", "Files that are open.", mountpoint)
	mountStreamed  = newDesc("mount_streamed_files", "Open files that have to be read from their beginning.", mountpoint)
	mountErrors    = newDesc("mount_errors_total", "Errors that readers were told, by their name.", mountpoint, "errno")
)

const mountpoint = "mountpoint"

// WriteMountFile writes the numbers of the mount on the folder dir, in a file
// like that of WriteFile.
func WriteMountFile(file, dir string, now time.Time, mounted bool, st fs.Stats) error {
	return writeFile(file, func(s sink) {
		s.gauge(mountActive, oneIf(mounted), dir)
		s.time(mountWritten, now, dir)
		s.counter(mountOpens, float64(st.Opens), dir)
		s.counter(mountReads, float64(st.Reads), dir)
		s.counter(mountBytes, float64(st.BytesRead), dir)
		s.counter(mountHits, float64(st.BlockHits), dir)
		s.counter(mountMisses, float64(st.BlockMisses), dir)
		s.counter(mountAhead, float64(st.BlocksAhead), dir)
		s.counter(mountAheadUsed, float64(st.BlocksAheadUsed), dir)
		s.counter(mountKeys, float64(st.KeysAhead), dir)
		s.counter(mountFetched, float64(st.SealedBytesRead), dir)
		s.counter(mountEvicted, float64(st.Evicted), dir)
		s.gauge(mountCache, float64(st.CacheBytes), dir)
		s.gauge(mountLimit, float64(st.CacheLimit), dir)
		s.gauge(mountOpen, float64(st.OpenFiles), dir)
		s.gauge(mountStreamed, float64(st.StreamedFiles), dir)
		// What was never seen at zero has no increase when it is seen first.
		counts := map[string]int64{"EIO": 0, "EACCES": 0}
		for errno, n := range st.Errors {
			counts[errno] = n
		}
		for errno, n := range counts {
			s.counter(mountErrors, float64(n), dir, errno)
		}
	})
}
