package objstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go/middleware"
)

// timing is how patient an S3 is. A request is repeated for at least patience,
// counted from its first failure, and has at least so many attempts; the first
// failure after both is final.
type timing struct {
	patience   time.Duration
	attempts   int
	minBackoff time.Duration // between the first two attempts; doubles with each
	maxBackoff time.Duration
	connect    time.Duration // to connect, and for the TLS handshake
	stall      time.Duration // without a byte in either direction
}

// A gateway that restarts, or whose address moves to another machine, is back
// within two minutes. One that refuses connections or answers 503 is thus given
// up after 2:20 at most; of one that does not answer at all, each attempt takes
// as long as stall. A body has no time limit as long
// as bytes flow: parts may be large and lines slow.
var patient = timing{
	patience: 2 * time.Minute, attempts: 3, minBackoff: time.Second, maxBackoff: 20 * time.Second,
	connect: 30 * time.Second, stall: 2 * time.Minute,
}

// delay is how long to wait after so many failures: between half of and all of
// what doubles each time, so that many clients do not come back at once.
func (t timing) delay(failures int) time.Duration {
	full := min(t.minBackoff<<min(failures-1, 20), t.maxBackoff)
	return full/2 + rand.N(full/2+1)
}

// effort is what a request has cost so far.
type effort struct {
	failures int
	since    time.Time // of the first
}

// fail counts a failure, and tells whether it is the last that t allows.
func (e *effort) fail(t timing) (final bool) {
	if e.failures++; e.failures == 1 {
		e.since = time.Now()
	}
	return e.failures >= t.attempts && time.Since(e.since) >= t.patience
}

func (e effort) String() string {
	return fmt.Sprintf("after %d attempts in %v", e.failures, time.Since(e.since).Round(time.Second))
}

// gaveUpError stands beside the last failure.
type gaveUpError struct {
	effort effort
	last   error
}

func (e *gaveUpError) Error() string { return "given up " + e.effort.String() }

// retryer ends the SDK's repetitions by time, not by number. The limiter of the
// SDK is off: it ends them early when many requests fail at once, which is just
// what a restart of the gateway looks like.
type retryer struct {
	aws.RetryerV2
	s *S3
}

func (s *S3) retryer() aws.Retryer {
	return retryer{s: s, RetryerV2: retry.NewStandard(func(o *retry.StandardOptions) {
		o.RateLimiter = ratelimit.None
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(isRetryable)}, o.Retryables...)
	})}
}

func (retryer) MaxAttempts() int { return 0 } // no limit

func (r retryer) RetryDelay(failures int, _ error) (time.Duration, error) {
	return r.s.timing.delay(failures), nil
}

// retries counts for all stores of the process.
var retries atomic.Int64

// Retries is how many requests to an S3 were repeated since the process began,
// among them those for the rest of an object whose body broke off. It may be
// called concurrently.
func Retries() int64 { return retries.Load() }

// loudFrom is the failure from which on a wait is worth telling.
const loudFrom = 4

// GetRetryToken is asked before each repetition.
func (r retryer) GetRetryToken(ctx context.Context, err error) (func(error) error, error) {
	e, ok := middleware.GetStackValue(ctx, effortKey{}).(*effort)
	if !ok {
		return nil, errors.New("the request keeps no count of its failures")
	}
	if e.fail(r.s.timing) {
		return nil, &gaveUpError{*e, err}
	}
	if e.failures == loudFrom {
		slog.WarnContext(ctx, "the store fails; trying again", "store", r.s.place(), "error", r.s.clean(detail(err)), "patience", r.s.timing.patience)
	}
	retries.Add(1)
	return func(error) error { return nil }, nil
}

type effortKey struct{}

// countFailures gives each request its effort.
func countFailures(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("firnEffort", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		return next.HandleInitialize(middleware.WithStackValue(ctx, effortKey{}, &effort{}), in)
	}), middleware.Before)
}

// transient are answers of services and of the proxies before them, besides the
// 5xx that the SDK knows.
var transient = []int{http.StatusRequestTimeout, http.StatusTooManyRequests}

// isRetryable adds to what the SDK knows.
func isRetryable(err error) aws.Ternary {
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return aws.FalseTernary
	case errors.As(err, &certificate): // the next one is no better
		return aws.FalseTernary
	case errors.Is(err, io.ErrUnexpectedEOF): // an answer that was cut off
		return aws.TrueTernary
	case slices.Contains(transient, statusOf(err)):
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}
