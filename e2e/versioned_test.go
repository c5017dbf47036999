package e2e

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/objstore/objstoretest"
)

// newSpecialBucket gives nights a bucket that keeps versions of objects, or in
// which objects can be locked, or both; where days are given, each object is for
// as many.
func newSpecialBucket(t *testing.T, keepsVersions, locks bool, days int32) (*nights, *s3.Client, objstore.S3Options) {
	t.Helper()
	w := newWorld(t)
	withNewKey(w)
	o := objstoretest.Gateway{Versions: keepsVersions}.Start(t)
	o.Bucket = "backup"
	client := objstoretest.Client(t, o)
	_, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &o.Bucket, ObjectLockEnabledForBucket: &locks})
	must(t, err)
	if days > 0 {
		_, err = client.PutObjectLockConfiguration(t.Context(), &s3.PutObjectLockConfigurationInput{
			Bucket: &o.Bucket, ObjectLockConfiguration: &types.ObjectLockConfiguration{
				ObjectLockEnabled: types.ObjectLockEnabledEnabled,
				Rule: &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{
					Mode: types.ObjectLockRetentionModeCompliance, Days: &days,
				}},
			},
		})
		must(t, err)
	} else if keepsVersions && !locks {
		_, err = client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
			Bucket: &o.Bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
		})
		must(t, err)
	}
	w.store, err = objstore.OpenS3(t.Context(), o)
	must(t, err)
	w.env = append(w.env, bucketSettings(o)...)
	n := &nights{world: w, site: newSite(t, w.storage)}
	n.site.fill(10, 1)
	n.site.add(n.site.content(40 << 20))
	return n, client, o
}

// versionsOf counts what a bucket keeps besides what its listing shows.
func versionsOf(t *testing.T, client *s3.Client, bucket string) (old []types.ObjectVersion, markers int) {
	t.Helper()
	pages := s3.NewListObjectVersionsPaginator(client, &s3.ListObjectVersionsInput{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		must(t, err)
		for _, v := range page.Versions {
			if !aws.ToBool(v.IsLatest) {
				old = append(old, v)
			}
		}
		markers += len(page.DeleteMarkers)
	}
	return old, markers
}

// TestVersionedBuckets makes nights in buckets that keep what is deleted,
// without and with a lock on it. firn does as ever, and what it deleted is still
// to be had by version.
func TestVersionedBuckets(t *testing.T) {
	t.Parallel()
	for name, days := range map[string]int32{"versions": 0, "locked": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			locks := days > 0
			n, client, o := newSpecialBucket(t, true, locks, days)
			for range 3 {
				n.backUp()
				n.archiveAll()
				n.site.day()
			}
			for _, v := range n.all {
				sameTree(t, v.backup, tree(t, n.restore(v.backup)), v.files, 0o777)
			}
			if left := objstoretest.Uploads(t, o); len(left) > 0 {
				t.Errorf("unfinished uploads: %q", left)
			}
			old, markers := versionsOf(t, client, o.Bucket)
			t.Logf("%d current objects, %d old versions, %d delete markers", len(n.objects("", "")), len(old), markers)
			var packages int
			for _, v := range old {
				if strings.HasPrefix(aws.ToString(v.Key), n.all[0].backup+"/") && strings.HasSuffix(aws.ToString(v.Key), ".tar") {
					packages++
				}
			}
			if packages == 0 || markers < len(old) {
				t.Errorf("the first backup's packages are gone: %d old versions, %d markers", len(old), markers)
			}
			_, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &o.Bucket, Key: old[0].Key, VersionId: old[0].VersionId})
			var refusal smithy.APIError
			if locks != errors.As(err, &refusal) {
				t.Errorf("deleting a version: %v", err)
			}
		})
	}
}

// TestLockedObjects has a server that refuses to delete a locked object, where
// others hide it. All is archived, and the message says why the bucket is not
// tidied up.
func TestLockedObjects(t *testing.T) {
	t.Parallel()
	n, client, o := newSpecialBucket(t, false, true, 0)
	n.backUp()
	for _, key := range n.objects("", ".tar") {
		_, err := client.PutObjectRetention(t.Context(), &s3.PutObjectRetentionInput{
			Bucket: &o.Bucket, Key: &key, Retention: &types.ObjectLockRetention{
				Mode: types.ObjectLockRetentionModeCompliance, RetainUntilDate: aws.Time(time.Now().Add(time.Hour)),
			},
		})
		must(t, err)
	}
	n.pull()
	n.site.day()
	n.backUp()
	for range 2 { // and so each night
		stdout, stderr, code := n.run(nil, firn, "archive", n.archive)
		if code != 5 || !strings.Contains(stderr, "object lock keeps it until its retention ends") {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
	}
	for _, v := range n.all {
		sameTree(t, v.backup, tree(t, n.restore(v.backup)), v.files, 0o777)
	}
}
