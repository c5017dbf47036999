// Package objstoretest gives tests an empty bucket on a real S3 server:
// versitygw, started for the test, or the server that the environment names.
//
// It is for tests only. Nothing here retries or hides what the server does.
package objstoretest

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/chipster/firn/internal/objstore"
)

// VersityGW makes a bucket that is the test's own. Where FIRN_TEST_S3_ENDPOINT
// is set, it is on that server, with FIRN_TEST_S3_REGION, _ACCESS_KEY,
// _SECRET_KEY and, for a certificate of its own, the file _CA; it is emptied
// and removed at the end of the test. Else it is on a versitygw that runs
// until then.
func VersityGW(t testing.TB) objstore.S3Options {
	t.Helper()
	o := objstore.S3Options{
		Bucket:    "firn-test-" + strings.ToLower(rand.Text()[:12]),
		PathStyle: true,
	}
	if IsExternal() {
		o.Endpoint = os.Getenv("FIRN_TEST_S3_ENDPOINT")
		o.CAFile = os.Getenv("FIRN_TEST_S3_CA")
		o.Region = cmp.Or(os.Getenv("FIRN_TEST_S3_REGION"), "us-east-1")
		o.AccessKey = os.Getenv("FIRN_TEST_S3_ACCESS_KEY")
		o.SecretKey = os.Getenv("FIRN_TEST_S3_SECRET_KEY")
	} else {
		bucket := o.Bucket
		o = Gateway{}.Start(t)
		o.Bucket = bucket
	}
	client := Client(t, o)
	if _, err := client.CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: &o.Bucket}); err != nil {
		t.Fatalf("create a bucket at %s: %v", o.Endpoint, err)
	}
	if IsExternal() {
		t.Cleanup(func() { removeBucket(t, client, o.Bucket) })
	}
	return o
}

// IsExternal tells whether the buckets are on a server of the environment.
func IsExternal() bool { return os.Getenv("FIRN_TEST_S3_ENDPOINT") != "" }

// Uploads returns the keys of the multipart uploads that were neither
// completed nor aborted.
func Uploads(t testing.TB, o objstore.S3Options) []string {
	t.Helper()
	out, err := Client(t, o).ListMultipartUploads(context.Background(), &s3.ListMultipartUploadsInput{Bucket: &o.Bucket})
	if err != nil {
		t.Fatalf("list the uploads of %s: %v", o.Bucket, err)
	}
	var keys []string
	for _, u := range out.Uploads {
		keys = append(keys, aws.ToString(u.Key))
	}
	return keys
}

// Client is the SDK as it comes, not the store under test.
func Client(t testing.TB, o objstore.S3Options) *s3.Client {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			t.Fatal(err)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return s3.New(s3.Options{
		BaseEndpoint: &o.Endpoint,
		Region:       o.Region,
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(o.AccessKey, o.SecretKey, ""),
		HTTPClient:   &http.Client{Transport: transport},
	})
}

func removeBucket(t testing.TB, client *s3.Client, bucket string) {
	ctx := context.Background()
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Errorf("list the bucket %s: %v", bucket, err)
			return
		}
		for _, o := range page.Contents {
			if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: o.Key}); err != nil {
				t.Errorf("empty the bucket %s: %v", bucket, err)
			}
		}
	}
	if _, err := client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket}); err != nil {
		t.Errorf("remove the bucket %s: %v", bucket, err)
	}
}
