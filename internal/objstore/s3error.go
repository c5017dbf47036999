package objstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// requestError is a request that failed. Its text is made of what the service
// says, without the SDK's wrapping and without keys.
type requestError struct {
	text   string
	causes []error
}

func (e *requestError) Error() string   { return e.text }
func (e *requestError) Unwrap() []error { return e.causes }

// fail names the object and translates an error of the SDK.
func (s *S3) fail(op, key string, err error) error {
	return s.newError(op, key, kindOf(codeOf(err), statusOf(err)), detail(err), err)
}

// newError makes a requestError; kind and cause may be nil.
func (s *S3) newError(op, key string, kind error, detail string, cause error) error {
	for _, secret := range s.secrets {
		// A shorter one is no secret, and part of ordinary words.
		if len(secret) >= 8 {
			detail = strings.ReplaceAll(detail, secret, "***")
		}
	}
	var e requestError
	if kind != nil {
		e.causes = append(e.causes, kind)
		detail = fmt.Sprintf("%v (%s)", kind, detail)
	}
	if cause != nil {
		e.causes = append(e.causes, cause)
	}
	e.text = op + " " + s.String() + ": " + detail
	if key != "" {
		e.text = fmt.Sprintf("%s %q in %s: %s", op, key, s, detail)
	}
	return &e
}

// kindOf finds the sentinel of an answer. The status alone does not make an
// object missing: 404 also answers an unknown upload, or an unknown user.
func kindOf(code string, status int) error {
	switch code {
	case "NoSuchKey", "NoSuchBucket", "NotFound":
		return ErrNotFound
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Forbidden",
		"XAdminUserNotFound": // versitygw's InvalidAccessKeyId
		return ErrDenied
	case "PreconditionFailed": // If-Match, when a read is resumed
		return ErrChanged
	}
	switch status {
	case http.StatusForbidden, http.StatusUnauthorized:
		return ErrDenied
	case http.StatusPreconditionFailed:
		return ErrChanged
	}
	return nil
}

func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// hints say what to do about codes whose own text does not.
var hints = map[string]string{
	"InvalidAccessKeyId":           "check the access key",
	"SignatureDoesNotMatch":        "check the secret key",
	"NoSuchBucket":                 "check the bucket and the endpoint",
	"AuthorizationHeaderMalformed": "check the region",
	"PermanentRedirect":            "check the region and the endpoint",
	"RequestTimeTooSkewed":         "set the clock",
}

// detail is the text of what went wrong, and with how many attempts.
func detail(err error) string {
	var text string
	var api smithy.APIError
	var request *url.Error
	switch {
	case errors.As(err, &api):
		text = answerText(api)
	case errors.As(err, &request):
		text = request.Err.Error()
	default:
		text = err.Error()
	}
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.RequestID != "" {
		text += ", request " + answer.RequestID
	}
	var attempts *retry.MaxAttemptsError
	if errors.As(err, &attempts) {
		text += fmt.Sprintf(", after %d attempts", attempts.Attempt)
	}
	return text
}

// answerText is the code, the message and the hint, as far as there are any.
func answerText(api smithy.APIError) string {
	text := api.ErrorCode()
	message := strings.TrimSuffix(api.ErrorMessage(), ".")
	if message == "UnknownError" { // the SDK's, when the answer has none
		message = ""
	}
	for _, more := range []string{message, hints[api.ErrorCode()]} {
		if more != "" {
			text += ": " + more
		}
	}
	return text
}

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
	}
	return aws.UnknownTernary
}
