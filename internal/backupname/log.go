package backupname

import "log/slog"

// LogValue is the name as text, in logs of every form.
func (n Name) LogValue() slog.Value { return slog.StringValue(n.text) }
