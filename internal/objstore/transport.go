package objstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// newHTTPClient makes the client of one S3. Proxies are taken from the
// environment.
func newHTTPClient(o S3Options, t timing) (*http.Client, error) {
	config, err := tlsConfig(o.MaxTLSVersion, o.CAFile)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: t.connect}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return &stallConn{Conn: conn, limit: t.stall}, nil
			},
			TLSClientConfig:       config,
			TLSHandshakeTimeout:   t.connect,
			ExpectContinueTimeout: time.Second,
			// A connection for every worker that anyone will want.
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     90 * time.Second,
		},
		// A signature is good for one place.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

func tlsConfig(maxVersion, caFile string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	switch maxVersion {
	case "", "TLSv1.3":
	case "TLSv1.2":
		c.MaxVersion = tls.VersionTLS12
	default:
		return nil, fmt.Errorf("TLS version %q: use TLSv1.2 or TLSv1.3", maxVersion)
	}
	if caFile == "" {
		return c, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("certificates to trust: %w", err)
	}
	if c.RootCAs, err = x509.SystemCertPool(); err != nil {
		return nil, fmt.Errorf("the system's certificates: %w", err)
	}
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificates to trust: none in %s", caFile)
	}
	return c, nil
}

// stallConn is a connection that breaks once nothing has moved in either
// direction for limit. A time limit on the request would be wrong for a large
// part on a slow line, and one on the answer alone would miss a server that
// stops to read.
type stallConn struct {
	net.Conn
	limit time.Duration
}

func (c *stallConn) Read(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write goes in small steps, each of which moves the deadline of the Read that
// waits for the answer meanwhile.
func (c *stallConn) Write(p []byte) (n int, err error) {
	const step = 64 << 10
	for {
		if err := c.SetDeadline(time.Now().Add(c.limit)); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(p[n:min(len(p), n+step)])
		n += m
		if err != nil || n == len(p) {
			return n, err
		}
	}
}
