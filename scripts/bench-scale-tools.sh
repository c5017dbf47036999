# shellcheck shell=bash disable=SC2154,SC2034
# What bench-scale.sh times beside restic and borg: the same files, each tool in
# turn, to the disk that they are on and back. Sourced.

tool_files=20000 tool_bytes=10000 tool_runs=3

measure_tools() {
	local run subject
	say "making $tool_files files of $tool_bytes bytes"
	"$bench" files files-tools "$tool_files" "$tool_bytes"
	echo "a passphrase" >passphrase
	for ((run = 1; run <= tool_runs; run++)); do
		for subject in firn restic borg; do
			say "$subject, run $run of $tool_runs"
			mkdir "$subject.$run" "$subject.$run/restored"
			"with_$subject" "$work/$subject.$run"
			diff -r files-tools "$subject.$run/restored" >&2 || fail "what $subject restored differs"
		done
	done
	kept tools.tsv .
}

with_firn() { # with_firn FOLDER
	mkdir "$1/bucket" "$1/archive"
	rm -rf cache
	measure backup "$firn" -q upload files files-tools --name file-storage --store "file://$1/bucket" --recipient firn.public.asc
	measure archive "$firn" -q archive "$1/archive" --store "file://$1/bucket"
	measure restore "$firn" -q restore "$1/archive" file-storage/latest --to "$1/restored" --key firn.private.base64
}

with_restic() { # with_restic FOLDER
	export RESTIC_REPOSITORY=$1/repository RESTIC_PASSWORD_FILE=$work/passphrase
	restic -q init
	(cd files-tools && measure backup restic -q backup .)
	measure restore restic -q restore latest --target "$1/restored"
}

with_borg() { # with_borg FOLDER
	export BORG_REPO=$1/repository BORG_PASSCOMMAND="cat $work/passphrase" BORG_BASE_DIR=$1/borg
	borg --error init --encryption repokey
	(cd files-tools && measure backup borg create ::all .)
	(cd "$1/restored" && measure restore borg extract ::all)
}
