package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/objstore/objstoretest"
)

// newAuthority writes server.crt and server.key for the names into a folder, and
// returns the certificate (PEM) of who signed them.
func newAuthority(t testing.TB, folder string, names ...string) []byte {
	t.Helper()
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	signed, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	for name, p := range map[string]*pem.Block{
		"server.crt": {Type: "CERTIFICATE", Bytes: signed}, "server.key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		must(t, os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(p), 0o600))
	}
	own, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own})
}

// The accounts of the rig's S3 service: root's, and those that the pages name.
const (
	rigRoot     = "root-access-key"
	rigUploader = "firn-uploader"
	rigArchiver = "firn-archiver"
)

// startS3 starts https://s3.example.org/ with the bucket "backup", and the two
// accounts with the rights that testdata/policies give them.
func (r *rig) startS3() {
	r.Helper()
	program, err := exec.LookPath(filepath.Join(os.Getenv("FIRN_TOOLS"), "versitygw"))
	if err != nil {
		r.Fatalf("%v: run make tools", err)
	}
	for _, folder := range []string{"accounts", "buckets", "versions"} {
		must(r, os.Mkdir(filepath.Join(r.dir, folder), 0o755))
	}
	r.start(nil, []string{"ROOT_ACCESS_KEY=" + rigRoot, "ROOT_SECRET_KEY=" + rigRoot}, program,
		"--quiet", "--region", "regionOne", "--port", "127.0.0.1:443", "--virtual-domain", "s3.example.org",
		"--cert", filepath.Join(r.dir, "server.crt"), "--key", filepath.Join(r.dir, "server.key"),
		"--iam-dir", filepath.Join(r.dir, "accounts"),
		"posix", "--versioning-dir", filepath.Join(r.dir, "versions"), filepath.Join(r.dir, "buckets"))
	r.await("versitygw", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:443")
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	for _, account := range []string{rigUploader, rigArchiver} {
		objstoretest.AddAccount(r, rigBucket(""), account)
	}
	r.makeBucket("backup")
}

// rigBucket is how root reaches a bucket.
func rigBucket(name string) objstore.S3Options {
	return objstore.S3Options{
		Endpoint: "https://s3.example.org", Region: "regionOne", Bucket: name, PathStyle: true, AccessKey: rigRoot, SecretKey: rigRoot,
		CAFile: trusted,
	}
}

// makeBucket makes a bucket in which the two accounts have the rights that
// testdata/policies give them.
func (r *rig) makeBucket(name string) {
	r.Helper()
	client := objstoretest.Client(r, rigBucket(name))
	_, err := client.CreateBucket(r.Context(), &s3.CreateBucketInput{Bucket: &name})
	must(r, err)
	type policy struct {
		Version   string
		Statement []statement
	}
	all := policy{Version: "2012-10-17"}
	names := strings.NewReplacer("BUCKET", name, "UPLOADER", rigUploader, "ARCHIVER", rigArchiver)
	for _, file := range []string{"uploader.json", "archiver.json"} {
		text, err := os.ReadFile(filepath.Join(project, "e2e/testdata/policies", file))
		must(r, err)
		var mine policy
		must(r, json.Unmarshal([]byte(names.Replace(string(text))), &mine))
		all.Statement = append(all.Statement, mine.Statement...)
	}
	text, err := json.Marshal(all)
	must(r, err)
	_, err = client.PutBucketPolicy(r.Context(), &s3.PutBucketPolicyInput{Bucket: &name, Policy: aws.String(string(text))})
	must(r, err)
}
