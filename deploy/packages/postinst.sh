#!/bin/sh
# After the files are there. dpkg says "configure" and the old version, rpm how
# many versions are installed now.
set -e
case "$1 ${2:-}" in
"configure " | "1 ") upgrade= ;;
"configure "* | "2 ") upgrade=yes ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# A run that is under way ends, and the new program goes on with it.
	[ -z "$upgrade" ] || systemctl try-restart firn.service 'firn-archive-serve@*.service'
fi
