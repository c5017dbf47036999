package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/chipster/firn/archiver"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/postgres"
	"github.com/chipster/firn/internal/restore"
	"github.com/chipster/firn/internal/signature"
	"github.com/chipster/firn/internal/verify"
	"github.com/chipster/firn/uploader"
)

// Exit codes are a promise to scripts: a number never changes its meaning.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitIncomplete  = 3 // done, but something is missing, damaged or left out
	exitNotFound    = 4
	exitNoAccess    = 5 // no key that fits, or the store refused
	exitLocked      = 6
	exitUntrusted   = 7 // not signed by a trusted key, or older than what was seen before
	exitInterrupted = 130
)

// exitCodes is read from the top: an error that is several things at once has
// the code of the first.
var exitCodes = []struct {
	err  error
	code int
}{
	{errSomeFailed, exitIncomplete},
	{archiver.ErrLocked, exitLocked},
	{uploader.ErrLocked, exitLocked},
	{signature.ErrUntrusted, exitUntrusted},
	{catalog.ErrRollback, exitUntrusted},
	{restore.ErrInUse, exitLocked},
	{envelope.ErrKey, exitNoAccess},
	{keys.ErrPassphrase, exitNoAccess},
	{catalog.ErrAmbiguous, exitUsage},
	{restore.ErrNotDatabase, exitUsage},
	{uploader.ErrOtherInstallation, exitUsage},
	{objstore.ErrDenied, exitNoAccess},
	{postgres.ErrDenied, exitNoAccess},
	{uploader.ErrIncomplete, exitIncomplete},
	{archiver.ErrIncomplete, exitIncomplete},
	{restore.ErrIncomplete, exitIncomplete},
	{verify.ErrDamaged, exitIncomplete},
	{archiver.ErrNoArchive, exitNotFound},
	{catalog.ErrNoVersion, exitNotFound},
	{restore.ErrNoMatch, exitNotFound},
	{objstore.ErrNotFound, exitNotFound},
	{fs.ErrNotExist, exitNotFound},
}

func exitCode(err error) int {
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	for _, e := range exitCodes {
		if errors.Is(err, e.err) {
			return e.code
		}
	}
	return exitFailed
}

func isCancelled(err error) bool { return errors.Is(err, context.Canceled) }

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }
