package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// S3Options say which bucket, and how to reach it.
type S3Options struct {
	Bucket        string
	Prefix        string // of all keys, without the slash that follows it; may be empty
	Endpoint      string // a URL or a host, which means https; empty is Amazon's own
	Region        string // empty is "regionOne", with an endpoint
	AccessKey     string
	SecretKey     string
	PathStyle     bool   // endpoint/bucket instead of bucket.endpoint
	MaxTLSVersion string // "TLSv1.2", "TLSv1.3" or empty: the newest; never below 1.2
	CAFile        string // PEM certificates to trust besides the system's
}

// S3 is a bucket of an S3 service, or what is below a prefix in one. It speaks
// what Ceph's gateway, Amazon and versitygw have in common: Content-MD5 on
// uploads, and none of the newer checksums, which break Ceph's.
//
// Requests are repeated after broken connections, timeouts, and answers of 5xx,
// 429 and SlowDown, for two minutes or a little longer (see timing); never after
// other answers of 4xx. The log tells when that takes its time. Keys are UTF-8 without control characters: a listing cannot
// carry others.
type S3 struct {
	client   *s3.Client
	bucket   string
	prefix   string // empty, or with the slash at its end
	endpoint string // for messages; empty is Amazon's
	secrets  []string
	timing   timing
}

var _ Store = (*S3)(nil)

// OpenS3 opens a store and asks for a first page of it, so that what is wrong
// with the options shows here: ErrNotFound for the bucket, ErrDenied for the
// keys or the right to list.
func OpenS3(ctx context.Context, o S3Options) (*S3, error) { return openS3(ctx, o, patient) }

func openS3(ctx context.Context, o S3Options, t timing) (*S3, error) {
	s := &S3{
		bucket:  o.Bucket,
		secrets: []string{o.SecretKey, o.AccessKey},
		timing:  t,
	}
	if p := strings.Trim(o.Prefix, "/"); p != "" {
		s.prefix = p + "/"
	}
	if err := s.connect(o); err != nil {
		return nil, fmt.Errorf("open %s: %w", s, err)
	}
	_, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &s.prefix, MaxKeys: aws.Int32(1)})
	if err != nil {
		return nil, s.fail(toOpen, "", err)
	}
	return s, nil
}

// connect makes the client. Nothing is sent yet.
func (s *S3) connect(o S3Options) error {
	if o.Bucket == "" {
		return errors.New("no bucket is given")
	}
	if o.AccessKey == "" || o.SecretKey == "" {
		return errors.New("give the access key and the secret key")
	}
	endpoint, region, err := o.place()
	if err != nil {
		return err
	}
	s.endpoint = aws.ToString(endpoint)
	client, err := newHTTPClient(o, s.timing)
	if err != nil {
		return err
	}
	s.client = s3.New(s3.Options{
		BaseEndpoint:               endpoint,
		Region:                     region,
		UsePathStyle:               o.PathStyle,
		Credentials:                credentials.NewStaticCredentialsProvider(o.AccessKey, o.SecretKey, ""),
		HTTPClient:                 client,
		Retryer:                    s.retryer(),
		APIOptions:                 []func(*middleware.Stack) error{countFailures},
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
	return nil
}

// place completes the endpoint and the region.
func (o S3Options) place() (endpoint *string, region string, err error) {
	if o.Endpoint == "" {
		if o.Region == "" {
			return nil, "", errors.New("give an endpoint, or a region of Amazon's")
		}
		return nil, o.Region, nil
	}
	full := o.Endpoint
	if !strings.Contains(full, "://") {
		full = "https://" + full
	}
	u, err := url.Parse(full)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, "", errors.New("the endpoint is not a host name or an https URL")
	}
	region = o.Region
	if region == "" {
		region = "regionOne"
	}
	return &full, region, nil
}

// withMD5 adds Content-MD5, which every S3 service checks.
var withMD5 = s3.WithAPIOptions(smithyhttp.AddContentChecksumMiddleware)

// String is s3://bucket/prefix.
func (s *S3) String() string {
	return URL{Scheme: "s3", Bucket: s.bucket, Prefix: strings.TrimSuffix(s.prefix, "/")}.String()
}

// full is the key in the bucket.
func (s *S3) full(key string) *string { return aws.String(s.prefix + key) }

// List yields the objects, 1000 a request.
func (s *S3) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: s.full(prefix)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(Object{}, s.fail(toList, prefix, err))
				return
			}
			for _, o := range page.Contents {
				key := strings.TrimPrefix(aws.ToString(o.Key), s.prefix)
				// The prefix itself may be an object: a folder to some tools.
				if key == "" {
					continue
				}
				if !yield(Object{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
		}
	}
}

// Head describes one object.
func (s *S3) Head(ctx context.Context, key string) (Object, error) {
	o, _, err := s.head(ctx, key)
	if err != nil {
		return Object{}, s.fail(toLookUp, key, err)
	}
	return o, nil
}

func (s *S3) head(ctx context.Context, key string) (o Object, etag string, err error) {
	if key == "" {
		return o, "", errNoKey
	}
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: s.full(key)})
	if err != nil {
		return o, "", err
	}
	o = Object{Key: key, Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified)}
	return o, aws.ToString(out.ETag), nil
}

// Put writes an object in one request.
func (s *S3) Put(ctx context.Context, key string, data []byte) error {
	if key == "" {
		return s.fail(toWrite, key, errNoKey)
	}
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: s.full(key), Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
	}, withMD5)
	if err != nil {
		return s.fail(toWrite, key, err)
	}
	return nil
}

// Delete removes objects, 1000 a request.
func (s *S3) Delete(ctx context.Context, keys ...string) error {
	var errs []error
	if slices.Contains(keys, "") {
		errs = append(errs, s.fail(toDelete, "", errNoKey))
		keys = slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == "" })
	}
	for batch := range slices.Chunk(keys, 1000) {
		errs = append(errs, s.deleteBatch(ctx, batch)...)
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (s *S3) deleteBatch(ctx context.Context, keys []string) []error {
	ids := make([]types.ObjectIdentifier, len(keys))
	for i, key := range keys {
		ids[i].Key = s.full(key)
	}
	out, err := s.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &s.bucket, Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)},
	}, withMD5)
	if err != nil {
		return []error{s.fail(toDelete.as(fmt.Sprintf("delete %d objects, the first", len(keys))), keys[0], err)}
	}
	var errs []error
	for _, e := range out.Errors {
		if code := aws.ToString(e.Code); code != "NoSuchKey" {
			key := strings.TrimPrefix(aws.ToString(e.Key), s.prefix)
			errs = append(errs, s.newError(toDelete, key, code, 0, code+": "+aws.ToString(e.Message), nil))
		}
	}
	return errs
}

// Get reads a range of an object.
func (s *S3) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	r, err := s.get(ctx, key, offset, length)
	if err != nil {
		return nil, s.fail(toRead, key, err)
	}
	return r, nil
}
