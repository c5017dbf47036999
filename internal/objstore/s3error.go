package objstore

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

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

// operation is what was to be done, and who must have allowed it.
type operation struct {
	text string // what comes before the object's name
	may  string // what the keys may not do if it is denied
	ask  string // the permission, in the terms of bucket policies
}

var (
	toOpen    = operation{"open", "list the bucket", "s3:ListBucket"}
	toList    = operation{"list", "list the bucket", "s3:ListBucket"}
	toLookUp  = operation{"look up", "read it", "s3:GetObject"}
	toRead    = operation{"read", "read it", "s3:GetObject"}
	toWrite   = operation{"write", "write it", "s3:PutObject"}
	toDelete  = operation{"delete", "delete it", "s3:DeleteObject"}
	toAbort   = operation{"abort the upload of", "abort uploads", "s3:AbortMultipartUpload"}
	toUploads = operation{"list the uploads of", "list uploads", "s3:ListBucketMultipartUploads"}
)

// as is the same under another text.
func (o operation) as(text string) operation {
	o.text = text
	return o
}

// advice says what to do about a denial that is about this operation, not about
// the keys themselves.
func (o operation) advice(code, message string) string {
	switch {
	case code != "AccessDenied" && code != "Forbidden": // a HEAD's answer has no other code
		return ""
	case strings.Contains(strings.ToLower(message), "object lock"):
		return "the bucket's object lock keeps it until its retention ends"
	}
	text := fmt.Sprintf("these keys may not %s: ask for %s", o.may, o.ask)
	if o == toRead || o == toLookUp {
		text += ", or for s3:ListBucket: without that, this is also the answer where nothing is"
	}
	return text
}

// fail names the object and translates an error of the SDK.
func (s *S3) fail(op operation, key string, err error) error {
	return s.newError(op, key, codeOf(err), statusOf(err), detail(err), err)
}

// newError makes a requestError; code, status and cause may be empty.
func (s *S3) newError(op operation, key, code string, status int, detail string, cause error) error {
	var e requestError
	if kind := kindOf(code, status); kind != nil {
		e.causes = append(e.causes, kind)
		text := kind.Error()
		if advice := op.advice(code, detail); advice != "" {
			text += ": " + advice
		}
		detail = fmt.Sprintf("%s (%s)", text, detail)
	}
	if cause != nil {
		e.causes = append(e.causes, cause)
	}
	e.text = op.text + " " + s.place() + ": " + s.clean(detail)
	if key != "" {
		e.text = fmt.Sprintf("%s %q in %s: %s", op.text, key, s.place(), s.clean(detail))
	}
	return &e
}

// place names the bucket and the service.
func (s *S3) place() string {
	if s.endpoint == "" {
		return s.String()
	}
	return s.String() + " at " + s.endpoint
}

// clean takes the keys out of a text.
func (s *S3) clean(text string) string {
	for _, secret := range s.secrets {
		// A shorter one is no secret, and part of ordinary words.
		if len(secret) >= 8 {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
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
	case "RequestTimeTooSkewed": // 403, but the keys may be right
		return nil
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
	"RequestTimeTooSkewed":         "set the clock of this host",
}

// detail is the text of what went wrong, and with how many attempts.
func detail(err error) string {
	var text string
	var api smithy.APIError
	var request *url.Error
	var gaveUp *gaveUpError
	if errors.As(err, &gaveUp) {
		err = gaveUp.last
	}
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
	if gaveUp != nil {
		text += ", " + gaveUp.effort.String()
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
