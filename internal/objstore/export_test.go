package objstore

import (
	"context"
	"time"
)

// OpenS3Hasty is OpenS3 with the patience that a test has: 4 attempts without
// delay, and a connection that is silent for stall is broken.
func OpenS3Hasty(ctx context.Context, o S3Options, stall time.Duration) (*S3, error) {
	return openS3(ctx, o, timing{attempts: 4, minBackoff: time.Millisecond, maxBackoff: 5 * time.Millisecond, connect: 5 * time.Second, stall: stall})
}

// OpenS3Patient is OpenS3 with less of the patience.
func OpenS3Patient(ctx context.Context, o S3Options, patience time.Duration) (*S3, error) {
	return openS3(ctx, o, timing{
		patience: patience, attempts: 2, minBackoff: 5 * time.Millisecond, maxBackoff: 50 * time.Millisecond,
		connect: time.Second, stall: time.Second,
	})
}

var (
	KeyPath = keyPath
	TmpDir  = tmpDir
)
