#!/bin/sh
# After the files are gone. dpkg says "remove", "purge" or "upgrade", rpm how many
# versions are left. What cannot be had again stays: what the administrator put
# into /etc/firn, keys above all, the archives, and the user that they belong to.
set -e
case $1 in
purge | 0)
	rm -f /etc/systemd/system/*.wants/firn.service /etc/systemd/system/*.wants/firn-*.timer /etc/systemd/system/*.wants/firn-archive-serve@*.service
	;;
esac
if [ "$1" = purge ]; then
	rm -rf /var/lib/firn /var/cache/firn
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
