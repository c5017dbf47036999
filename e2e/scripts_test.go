package e2e
func serveUnavailable() {}
