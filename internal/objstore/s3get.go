package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// s3Reader reads pos to end of one version of an object, in as many requests
// as it takes. It is not safe for concurrent use, as other readers.
type s3Reader struct {
	ctx      context.Context
	s        *S3
	key      string
	etag     string // of the version
	pos, end int64

	body   io.ReadCloser // nil between two requests
	effort effort        // since the last byte
	err    error         // final
}

func (s *S3) get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	switch {
	case key == "":
		return nil, errNoKey
	case offset < 0:
		return nil, fmt.Errorf("offset %d is negative", offset)
	case length == 0:
		return s.nothing(ctx, key, offset)
	}
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: s.full(key)}
	switch {
	case length > 0 && length <= math.MaxInt64-offset:
		in.Range = byteRange(offset, offset+length)
	case offset > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	out, err := s.client.GetObject(ctx, in)
	if statusOf(err) == http.StatusRequestedRangeNotSatisfiable {
		// Also the answer at the very end, where there is nothing, but no error.
		return s.nothing(ctx, key, offset)
	}
	if err != nil {
		return nil, err
	}
	if err := checkRange(out, in.Range, offset); err != nil {
		out.Body.Close()
		return nil, err
	}
	return &s3Reader{
		ctx: ctx, s: s, key: key, etag: aws.ToString(out.ETag),
		pos: offset, end: offset + *out.ContentLength, body: out.Body,
	}, nil
}

// nothing is the empty range at offset, which must be in the object.
func (s *S3) nothing(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	o, _, err := s.head(ctx, key)
	if err != nil {
		return nil, err
	}
	if _, err := span(o.Size, offset, 0); err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(nil)), nil
}

func byteRange(pos, end int64) *string { return aws.String(fmt.Sprintf("bytes=%d-%d", pos, end-1)) }

// checkRange refuses an answer that is not the range that was asked for.
func checkRange(out *s3.GetObjectOutput, asked *string, offset int64) error {
	if out.ContentLength == nil || *out.ContentLength < 0 {
		return errors.New("the server does not tell the length")
	}
	if asked != nil && !strings.HasPrefix(aws.ToString(out.ContentRange), fmt.Sprintf("bytes %d-", offset)) {
		return fmt.Errorf("the server answers %s with %q", *asked, aws.ToString(out.ContentRange))
	}
	return nil
}

func (r *s3Reader) Read(p []byte) (int, error) {
	for r.err == nil && r.pos < r.end && len(p) > 0 {
		if r.body == nil {
			if r.err = r.resume(); r.err != nil {
				break
			}
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.end-r.pos)])
		r.pos += int64(n)
		if n > 0 {
			r.effort = effort{}
		}
		if err != nil {
			r.disconnect(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	switch {
	case r.err != nil:
		return 0, r.err
	case r.pos < r.end:
		return 0, nil // no room in p
	}
	return 0, io.EOF
}

// disconnect drops a broken body, and gives up once too many were broken
// without a byte from them.
func (r *s3Reader) disconnect(cause error) {
	r.body.Close()
	r.body = nil
	final := r.effort.fail(r.s.timing)
	if r.pos == r.end {
		return
	}
	if cause == io.EOF {
		cause = io.ErrUnexpectedEOF
	}
	switch {
	case r.ctx.Err() != nil:
		r.err = r.s.fail(toRead, r.key, r.ctx.Err())
	case final:
		if !errors.Is(cause, io.ErrUnexpectedEOF) {
			cause = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, cause)
		}
		r.err = r.s.fail(toRead, r.key, fmt.Errorf("no progress at byte %d %v: %w", r.pos, r.effort, cause))
	default:
		retries.Add(1)
	}
}

// resume asks for the rest, of the same version.
func (r *s3Reader) resume() error {
	if err := r.wait(); err != nil {
		return r.s.fail(toRead, r.key, err)
	}
	asked := byteRange(r.pos, r.end)
	out, err := r.s.client.GetObject(r.ctx, &s3.GetObjectInput{
		Bucket: &r.s.bucket, Key: r.s.full(r.key), Range: asked, IfMatch: &r.etag,
	})
	if err == nil {
		err = checkRange(out, asked, r.pos)
		// Compared too, as not every gateway minds If-Match.
		if err == nil && aws.ToString(out.ETag) != r.etag {
			err = fmt.Errorf("%w: its ETag was %s and is %s", ErrChanged, r.etag, aws.ToString(out.ETag))
		}
		if err == nil {
			r.body = out.Body
			return nil
		}
		out.Body.Close()
	}
	if statusOf(err) == http.StatusRequestedRangeNotSatisfiable {
		err = fmt.Errorf("%w: it is shorter now", ErrChanged)
	}
	return r.s.fail(toRead, r.key, err)
}

// wait spreads the attempts; the first comes at once.
func (r *s3Reader) wait() error {
	if r.effort.failures < 2 {
		return r.ctx.Err()
	}
	select {
	case <-r.ctx.Done():
		return r.ctx.Err()
	case <-time.After(r.s.timing.delay(r.effort.failures - 1)):
		return nil
	}
}

func (r *s3Reader) Close() error {
	if r.err == nil {
		r.err = errors.New("read of a closed object")
	}
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}

// statusOf is the HTTP status of an answer that is an error, or 0.
func statusOf(err error) int {
	var re *smithyhttp.ResponseError
	if errors.As(err, &re) {
		return re.HTTPStatusCode()
	}
	return 0
}
