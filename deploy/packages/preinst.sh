#!/bin/sh
# Before the files come: the user of the services, whose group some of them have.
# It stays when the package goes, since archives belong to it.
set -e
if ! getent passwd firn >/dev/null; then
	useradd --system --user-group --home-dir /var/lib/firn --no-create-home --shell /usr/sbin/nologin --comment "backups by firn" firn
fi
