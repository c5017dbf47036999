package objstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// abortTimeout limits an Abort, which runs when its caller is on the way out,
// most often because the store could not be reached for long already.
const abortTimeout = 20 * time.Second

// errEnded is not left to the service: Ceph takes a Complete after an Abort for
// a second one, and would have us wait for the first.
var errEnded = errors.New("the upload was completed or aborted before")

// s3Upload is a multipart upload. What it holds is a few bytes a part.
type s3Upload struct {
	s   *S3
	ctx context.Context // of Create, for Abort
	key string
	id  string

	mu    sync.Mutex
	parts map[int]s3Part
	ended bool
}

type s3Part struct {
	etag string // empty while it is on its way
	size int64
}

// Create begins a multipart upload.
func (s *S3) Create(ctx context.Context, key string) (Upload, error) {
	if key == "" {
		return nil, s.fail(toWrite, key, errNoKey)
	}
	out, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &s.bucket, Key: s.full(key)})
	if err != nil {
		return nil, s.fail(toWrite, key, err)
	}
	return &s3Upload{s: s, ctx: ctx, key: key, id: aws.ToString(out.UploadId), parts: make(map[int]s3Part)}, nil
}

func (u *s3Upload) WritePart(ctx context.Context, n int, data []byte) error {
	if err := u.writePart(ctx, n, data); err != nil {
		return u.s.fail(toWrite.as(fmt.Sprintf("write part %d of", n)), u.key, err)
	}
	return nil
}

func (u *s3Upload) writePart(ctx context.Context, n int, data []byte) error {
	if err := u.take(n); err != nil {
		return err
	}
	out, err := u.s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.s.bucket, Key: u.s.full(u.key), UploadId: &u.id, PartNumber: aws.Int32(int32(n)),
		Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
	}, withMD5)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		delete(u.parts, n)
		return err
	}
	u.parts[n] = s3Part{etag: aws.ToString(out.ETag), size: int64(len(data))}
	return nil
}

// take reserves the number n.
func (u *s3Upload) take(n int) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return errEnded
	}
	_, taken := u.parts[n]
	if err := checkPart(n, taken); err != nil {
		return err
	}
	u.parts[n] = s3Part{}
	return nil
}

func (u *s3Upload) Complete(ctx context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	err := checkParts(u.parts)
	if u.ended {
		err = errEnded
	}
	if err != nil {
		return u.s.fail(toWrite, u.key, err)
	}
	parts := make([]types.CompletedPart, len(u.parts))
	for i := range parts {
		parts[i].PartNumber = aws.Int32(int32(i + 1))
		parts[i].ETag = aws.String(u.parts[i+1].etag)
	}
	_, err = u.s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &u.s.bucket, Key: u.s.full(u.key), UploadId: &u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	if err != nil && !u.arrived(ctx) {
		return u.s.fail(toWrite, u.key, err)
	}
	u.ended = true
	return nil
}

// arrived tells whether the object is there after all. When the answer to a
// Complete is lost, the next attempt finds no such upload any more. An object
// of another upload must not be taken for it, so the ETag has to be the one
// that services make of the parts' own; where one makes it in another way
// (encryption with own keys), a lost answer is an error.
func (u *s3Upload) arrived(ctx context.Context) bool {
	var size int64
	sums := md5.New()
	for n := 1; n <= len(u.parts); n++ {
		p := u.parts[n]
		sum, err := hex.DecodeString(strings.Trim(p.etag, `"`))
		if err != nil {
			return false
		}
		sums.Write(sum)
		size += p.size
	}
	want := fmt.Sprintf("%x-%d", sums.Sum(nil), len(u.parts))
	o, etag, err := u.s.head(ctx, u.key)
	return err == nil && o.Size == size && strings.Trim(etag, `"`) == want
}

func (u *s3Upload) Abort() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), abortTimeout)
	defer cancel()
	if err := u.s.abort(ctx, u.key, u.id); err != nil {
		return err
	}
	u.ended = true
	return nil
}

// AbortUploads drops the unfinished uploads below prefix. It tries all that it
// sees and joins the errors. What follows a page is found by listing anew, since
// its uploads are gone then: the marker of the next page would be one of them.
func (s *S3) AbortUploads(ctx context.Context, prefix string) (n int, err error) {
	var errs []error
	seen := map[string]bool{}
	for more, fresh := true, true; more && fresh && ctx.Err() == nil; {
		page, err := s.client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: s.full(prefix)})
		if err != nil {
			errs = append(errs, s.fail(toUploads, prefix, err))
			break
		}
		more, fresh = aws.ToBool(page.IsTruncated), false
		for _, u := range page.Uploads {
			id := aws.ToString(u.UploadId)
			key, ours := strings.CutPrefix(aws.ToString(u.Key), s.prefix)
			if seen[id] || !ours || !strings.HasPrefix(key, prefix) {
				continue
			}
			seen[id], fresh = true, true
			if err := s.abort(ctx, key, id); err != nil {
				errs = append(errs, err)
			} else {
				n++
			}
		}
	}
	if len(errs) > 0 {
		return n, errors.Join(errs...)
	}
	return n, ctx.Err()
}

// abort drops an upload. Gone is gone: an attempt before may have done it.
func (s *S3) abort(ctx context.Context, key, id string) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &s.bucket, Key: s.full(key), UploadId: &id,
	})
	if err != nil && codeOf(err) != "NoSuchUpload" {
		return s.fail(toAbort, key, err)
	}
	return nil
}
