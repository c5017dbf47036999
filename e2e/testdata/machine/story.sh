# What an administrator does with the package, on a machine that runs systemd.
# Each line has to succeed. $VERSION is the package's; /firn.deb and /versitygw are
# there.
set -eux
export HOME=/root LC_ALL=C
trap '[ $? = 0 ] || journalctl --no-pager --output=cat | tail -40' EXIT
fails() { # CODE COMMAND...: the command has to end with that code
	code=$1
	shift
	set +e
	"$@" 2>/tmp/error
	got=$?
	set -e
	cat /tmp/error >&2
	[ "$got" = "$code" ]
}

# Installing starts nothing and enables nothing.
dpkg -i /firn.deb
[ "$(firn --version)" = "firn version $VERSION" ]
id firn
[ "$(stat -c '%U:%G %a' /etc/firn /etc/firn/firn.yaml)" = "root:firn 750
root:firn 640" ]
fails 1 systemctl --quiet is-enabled firn-upload.timer
[ -z "$(systemctl --quiet --no-legend list-units 'firn*')" ]
bash -c '. /usr/share/bash-completion/completions/firn && complete -p firn'

# The units are what systemd takes, and give little away. Manual pages are there.
cd /usr/lib/systemd/system
for unit in firn*; do
	case $unit in *@*) instance=/run/${unit%@*}@mnt-archive.${unit##*.} && ln -s "$PWD/$unit" "$instance" ;; *) instance=$PWD/$unit ;; esac
	[ -z "$(systemd-analyze verify --man=no "$instance" 2>&1)" ]
	case $unit in *.service) systemd-analyze security --no-pager --offline=yes --threshold=25 "$instance" ;; esac
	for page in $(sed -n 's/^Documentation=man:\(.*\)(.)$/\1/p' "$unit"); do ls /usr/share/man/man*/"$page".*.gz; done
done
cd /

# A bucket, a storage, an archive, keys.
echo 127.0.0.1 localhost >/etc/hosts
mkdir -p /srv/buckets/backup /opt/storage/folder /mnt/archive
systemd-run --quiet --unit=bucket --setenv=ROOT_ACCESS_KEY=access --setenv=ROOT_SECRET_KEY=secret-key \
	/versitygw --quiet --port localhost:7070 --region regionOne posix /srv/buckets
echo hello >/opt/storage/folder/file
seq 100000 >/opt/storage/numbers
chgrp -R firn /opt/storage
chmod -R u=rwX,g=rX,o= /opt/storage
chown firn:firn /mnt/archive
(cd /etc/firn && firn key generate --curve25519 --public public.asc --private private.key && chmod 644 public.asc)
[ "$(stat -c %a /etc/firn/private.key)" = 600 ]
printf secret-key >/etc/firn/secret-key
printf the-token-of-the-page-0123456789 >/etc/firn/token
chgrp firn /etc/firn/secret-key /etc/firn/token
chmod 640 /etc/firn/secret-key /etc/firn/token
cat >>/etc/firn/firn.yaml <<-END
	backup-bucket: backup
	backup-s3-endpoint: http://localhost:7070
	backup-s3-access-key: access
	backup-s3-secret-key-file: /etc/firn/secret-key
	backup-s3-path-style-access: true
	file-storage-path: /opt/storage
	file-storage-id: file-storage
	admin-token-file: /etc/firn/token
END
cat >>/etc/default/firn <<-END
	FIRN_UPLOAD=files
	FIRN_UPLOAD_OPTIONS="--recipient /etc/firn/public.asc"
	FIRN_SERVE_OPTIONS="--only files --recipient /etc/firn/public.asc"
	FIRN_VERIFY_OPTIONS="--sample 100%"
	FIRN_ARCHIVE_SERVE_OPTIONS="--listen localhost:8371"
END

# A night, by the units.
systemctl start firn-upload
systemctl start firn-archive@mnt-archive
systemctl start firn-verify@mnt-archive
systemctl start firn-drill@mnt-archive
[ "$(firn --quiet versions /mnt/archive | grep -c "^file-storage .* ok")" = 1 ]
[ "$(stat -c %U /mnt/archive/file-storage_*)" = firn ]
ls /var/lib/firn/runs /var/cache/firn

# A file that the user may not read is left out, and the unit says so; with the
# one capability that the unit speaks of it is backed up.
echo secret >/opt/storage/secret
chmod 600 /opt/storage/secret
fails 1 systemctl start firn-upload
[ "$(systemctl show -P ExecMainStatus firn-upload)" = 3 ]
mkdir -p /etc/systemd/system/firn-upload.service.d
sed -n 's/^#   //p' /usr/lib/systemd/system/firn-upload.service >/etc/systemd/system/firn-upload.service.d/override.conf
grep AmbientCapabilities=CAP /etc/systemd/system/firn-upload.service.d/override.conf
systemctl daemon-reload
systemctl start firn-upload
systemctl start firn-archive@mnt-archive

# Mounted by hand, by fstab, and by systemd. Automounts are not for containers.
mkdir /mnt/versions
mount -t fuse.firn /mnt/archive /mnt/versions -o key=/etc/firn/private.key
cmp /mnt/versions/file-storage/latest/secret /opt/storage/secret
umount /mnt/versions
echo '/mnt/archive /mnt/versions fuse.firn noauto,user,allow_other,cache_size=64MiB,key=/etc/firn/private.key 0 0' >>/etc/fstab
mount /mnt/versions
diff -r /mnt/versions/file-storage/latest/ /opt/storage
setpriv --reuid firn --clear-groups ls /mnt/versions/file-storage
umount /mnt/versions
sed -i '$d' /etc/fstab
cp /usr/share/doc/firn/examples/mnt-versions.* /etc/systemd/system
systemctl daemon-reload
systemd-analyze verify --man=no /etc/systemd/system/mnt-versions.mount /etc/systemd/system/mnt-versions.automount
systemctl start mnt-versions.mount
diff -r /mnt/versions/file-storage/latest/ /opt/storage
systemctl stop mnt-versions.mount
fails 32 mount -t fuse.firn /mnt/archive /mnt/versions -o key=/etc/firn/none
grep 'etc/firn/none: no such file' /tmp/error
fails 32 mount -t fuse.firn /srv/nothing /mnt/versions
fails 1 mount -t fuse.firn /mnt/archive /mnt/versions -o bogus
fails 1 grep -q firn /proc/mounts

# Damage that is found after the mount was made is told in the system's log.
mount -t fuse.firn /mnt/archive /mnt/versions -o key=/etc/firn/private.key
printf damaged >"$(find /mnt/archive -name 'numbers.*')"
fails 1 cat /mnt/versions/file-storage/latest/numbers
umount /mnt/versions
journalctl --sync
journalctl --no-pager --identifier=firn-mount | grep 'cannot read.*numbers'

# The services that stay, and the timers.
systemctl enable --quiet --now firn-upload.timer firn-archive@mnt-archive.timer firn-verify@mnt-archive.timer firn-drill@mnt-archive.timer
[ "$(systemctl --no-legend list-timers 'firn*' | wc -l)" = 4 ]
systemctl enable --quiet --now firn.service
fails 3 systemctl --quiet is-active firn-upload.timer
systemctl start firn-archive-serve@mnt-archive.service
fails 3 systemctl --quiet is-active firn-archive@mnt-archive.timer
for port in 8370 8371; do
	exec 3<>/dev/tcp/localhost/$port
	printf 'GET /admin/alive HTTP/1.0\r\n\r\n' >&3
	grep '200 OK' <&3
	exec 3>&-
done
systemctl stop firn-archive-serve@mnt-archive.service
[ "$(systemctl show -P Result firn-archive-serve@mnt-archive.service)" = success ]

# An upgrade keeps what was changed, and goes on with the new program.
echo '# mine' >>/etc/firn/firn.yaml
chmod 700 /etc/firn && chmod 750 /etc/firn
pid=$(systemctl show -P MainPID firn.service)
dpkg -i /firn.deb
tail -1 /etc/firn/firn.yaml | grep mine
[ "$(systemctl show -P MainPID firn.service)" != "$pid" ]
systemctl --quiet is-active firn.service
[ "$(stat -c '%U:%G %a' /etc/firn /etc/firn/firn.yaml)" = "root:firn 750
root:firn 640" ]

# Removed, it runs no more, and nothing of the administrator's is gone; a purge
# takes settings and records, but no key and no archive.
dpkg --remove firn
fails 127 firn --version
[ -z "$(systemctl --quiet --no-legend list-units 'firn*.service' 'firn*.timer')" ]
ls /etc/firn/firn.yaml /var/lib/firn/runs
dpkg --purge firn
[ ! -e /etc/firn/firn.yaml ]
[ ! -e /var/lib/firn ]
[ -z "$(find /etc/systemd/system -name 'firn*.timer' -o -name 'firn.service')" ]
ls /etc/firn/private.key /mnt/archive/file-storage_*
